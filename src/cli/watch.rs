//! `sipliance watch URI`: what a SIP address tells about itself, as it changes.

mod document;
mod render;
mod versions;
mod xml;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::render::Renderer;
use self::versions::Versions;
use super::client::{
    Client, Failure, Happened, Peer, PeerArgs, clean, not_allowed, run as run_client, status_line,
};
use crate::sip::challenge::Refused;
use crate::sip::subscriber::{Event, Notified, Subscriber, Why, Wish};
use crate::sip::wire::text::{is_token, split_outside};
use crate::sip::wire::{Message, Method};

/// How long an unsubscription may take before the program ends all the same.
const FAREWELL: Duration = Duration::from_secs(2);

/// Watch an appliance, a mailbox or a phone: one line per change
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipliance watch sip:washer@192.168.1.5 --user anna
  sipliance watch sip:anna@pbx.example --user anna --event message-summary
  sipliance watch sip:200@pbx.example --user anna --event dialog --transport tcp
  sipliance watch sip:freezer@192.168.1.5 --user anna --once --json | jq .parsed

The first line has the whole state, later ones what changed. Ctrl-C unsubscribes.

Exit codes: 0 ended well, 1 refused by the server, 2 wrong arguments, 3 nobody answered.")]
pub struct WatchArgs {
    /// Whom to watch, for example sip:washer@192.168.1.5
    #[arg(value_name = "URI")]
    pub uri: String,
    /// What to watch: appliance, presence, dialog, message-summary or any other event package
    #[arg(short, long, value_name = "PACKAGE", default_value = "appliance")]
    pub event: String,
    /// The form that the state should have, for example text/plain; more than one with commas
    #[arg(long, value_name = "TYPE")]
    pub accept: Option<String>,
    /// Print one JSON object per change
    #[arg(long)]
    pub json: bool,
    /// Print the state once and end
    #[arg(long)]
    pub once: bool,
    /// How many seconds a subscription should last before it is renewed
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub expires: u32,
    /// Whom to reach
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// Runs the command.
pub fn run(args: WatchArgs) -> ExitCode {
    run_client("watch", watch(args))
}

async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let peer = Peer::new(&args.uri, &args.peer)?;
    let wish = wish(&args, &peer)?;
    let login = peer.login(&args.peer)?;
    let mut client = Client::open(&peer, 1).await?;
    let now = Instant::now();
    let subscriber = Subscriber::new(wish, login, client.hop, client.rng(), now);
    let printer = Printer::new(&args, &peer);
    let patience = Some(now + Duration::from_secs(u64::from(args.peer.timeout)));
    let mut watch = Watch {
        peer,
        subscriber,
        printer,
        versions: Versions::default(),
        patience,
        farewell: None,
        flows: 1,
    };
    let mut stop = Stop::new()?;
    loop {
        if let Some(result) = watch.settle(&mut client, &mut stop).await {
            // What is still to be sent is an answer that nobody has to wait for.
            client.close().await;
            return result;
        }
        let happened = tokio::select! {
            happened = client.next(watch.deadline()) => happened,
            () = stop.asked() => {
                if watch.farewell.is_some() {
                    return Ok(());
                }
                watch.leave(&mut client);
                continue;
            }
        };
        watch.on(happened, &mut client)?;
    }
}

fn wish(args: &WatchArgs, peer: &Peer) -> Result<Wish, Failure> {
    let (package, _) = split_outside(args.event.as_bytes(), b';');
    let harmless = |text: &str| !text.chars().any(|c| c.is_control());
    if !is_token(package) || !harmless(&args.event) {
        return Err(Failure::Usage(format!(
            "--event {}: an event package is a single word",
            clean(&args.event)
        )));
    }
    if args.accept.as_deref().is_some_and(|accept| !accept.contains('/') || !harmless(accept)) {
        return Err(Failure::Usage("--accept wants a media type, for example text/plain".to_owned()));
    }
    let usual = match args.event.as_str() {
        "appliance" => Some("application/senml+json, text/plain;q=0.5"),
        "presence" => Some("application/pidf+xml"),
        "dialog" => Some("application/dialog-info+xml"),
        "message-summary" => Some("application/simple-message-summary"),
        _ => None,
    };
    Ok(Wish {
        target: peer.uri.clone(),
        from: peer.from.clone(),
        user: peer.user.clone(),
        event: args.event.clone(),
        accept: args.accept.clone().or(usual.map(ToOwned::to_owned)),
        expires: if args.once { 0 } else { args.expires },
    })
}

struct Watch {
    peer: Peer,
    subscriber: Subscriber,
    printer: Printer,
    versions: Versions,
    /// When the first state must be there.
    patience: Option<Instant>,
    /// When the program ends without the notifier's good-bye.
    farewell: Option<Instant>,
    flows: u64,
}

impl Watch {
    fn deadline(&self) -> Option<Instant> {
        [self.subscriber.next_deadline(), self.patience, self.farewell].into_iter().flatten().min()
    }

    /// Deals with all news; `Some` when it is over.
    async fn settle(&mut self, client: &mut Client, stop: &mut Stop) -> Option<Result<(), Failure>> {
        while let Some(event) = self.subscriber.poll() {
            match event {
                Event::Notified(notified) => {
                    self.patience = None;
                    if self.versions.has_gap(notified.content_type.as_deref(), &notified.body) {
                        self.subscriber.ask_again(Instant::now());
                    }
                    // The good-bye that was asked for is no news; programs get it all the same.
                    if self.farewell.is_some() && !self.printer.json {
                        continue;
                    }
                    // Whoever read the output is gone.
                    if self.printer.print(&notified).is_err() {
                        self.leave(client);
                    }
                }
                Event::Waiting(why, until) => self.printer.waiting(&why, until),
                Event::NeedFlow => {
                    self.flows += 1;
                    let opened = tokio::select! {
                        opened = Client::open(&self.peer, self.flows) => opened,
                        () = stop.asked() => return Some(Ok(())),
                    };
                    let now = Instant::now();
                    match opened {
                        Ok(opened) => {
                            *client = opened;
                            self.subscriber.on_flow_up(client.hop, &mut client.transactions, (), now);
                        }
                        Err(failure) => self.subscriber.on_flow_lost(&failure.to_string(), now),
                    }
                }
                Event::Over(why) => return Some(verdict(why, &self.peer)),
            }
        }
        None
    }

    fn on(&mut self, happened: Happened, client: &mut Client) -> Result<(), Failure> {
        let now = Instant::now();
        match happened {
            Happened::Response(bytes) => {
                if let Ok(response) = Message::parse(&bytes) {
                    self.subscriber.on_response(&response, &mut client.transactions, (), now);
                }
            }
            Happened::Request(bytes, hop) => {
                let Ok(request) = Message::parse(&bytes) else { return Ok(()) };
                let verdict = match request.request() {
                    Some((Method::Notify, _)) => self.subscriber.on_notify(&request, hop, now),
                    Some((Method::Options, _)) => Ok(()),
                    _ => Err(not_allowed("NOTIFY, OPTIONS")),
                };
                client.answer(&request, hop, verdict);
            }
            // The subscriber's own Timer N says the same.
            Happened::TimedOut => {}
            Happened::Deadline => {
                self.subscriber.on_deadline(&mut client.transactions, (), now);
                if self.patience.is_some_and(|at| at <= now) && !self.subscriber.is_over() {
                    return Err(self.peer.silent());
                }
                if self.farewell.is_some_and(|at| at <= now) {
                    self.subscriber.give_up_leaving();
                }
            }
            Happened::Lost(why) => self.subscriber.on_flow_lost(&why, now),
        }
        Ok(())
    }

    fn leave(&mut self, client: &mut Client) {
        let now = Instant::now();
        self.patience = None;
        self.farewell = Some(now + FAREWELL);
        self.subscriber.leave(&mut client.transactions, (), now);
    }
}

fn verdict(why: Why, peer: &Peer) -> Result<(), Failure> {
    match &why {
        Why::Fetched | Why::Left => Ok(()),
        // What never changes needs no watching.
        Why::Terminated(Some(reason)) if reason == "invariant" => Ok(()),
        Why::Refused { .. } | Why::Login(_) | Why::Terminated(_) => Err(Failure::Refused(words(&why, peer))),
        Why::Silent { .. } | Why::Expired | Why::FlowLost(_) => Err(Failure::Unreachable(words(&why, peer))),
    }
}

fn words(why: &Why, peer: &Peer) -> String {
    match why {
        Why::Refused { status: 489, reason, allow_events: Some(events) } => {
            format!("{}; the server has: {}", status_line(489, reason), clean(events))
        }
        Why::Refused { status, reason, .. } => status_line(*status, reason),
        Why::Login(Refused::Wrong) => format!("401: wrong user or password for {}", peer.user),
        Why::Login(refused) => format!("401: {refused}"),
        Why::Silent { answered: false } => peer.silent().to_string(),
        Why::Silent { answered: true } => "the server agreed and then told no state".to_owned(),
        Why::Terminated(reason) => format!("the server ended the subscription: {}", ended(reason.as_deref())),
        Why::Expired => "the subscription ran out and could not be renewed".to_owned(),
        Why::FlowLost(why) => clean(why),
        Why::Fetched | Why::Left => "done".to_owned(),
    }
}

/// The reasons of RFC 6665 §4.1.3.
fn ended(reason: Option<&str>) -> String {
    match reason {
        Some("rejected") => "you may not watch it".to_owned(),
        Some("noresource") => "it does not exist any more".to_owned(),
        Some("deactivated") => "it restarts".to_owned(),
        Some("timeout") => "it was not renewed in time".to_owned(),
        Some("probation") => "it cannot be told now".to_owned(),
        Some("giveup") => "nobody allowed it in time".to_owned(),
        Some(other) => clean(other),
        None => "it gives no reason".to_owned(),
    }
}

struct Printer {
    renderer: Renderer,
    json: bool,
    of: String,
    event: String,
    zone: TimeZone,
    name: String,
}

impl Printer {
    fn new(args: &WatchArgs, peer: &Peer) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            renderer: Renderer::new(&peer.label, wanted && std::io::stdout().is_terminal(), args.once),
            json: args.json,
            of: peer.uri.clone(),
            event: args.event.clone(),
            zone: TimeZone::system(),
            name: clean(&peer.label),
        }
    }

    fn print(&mut self, notified: &Notified) -> std::io::Result<()> {
        let now = jiff::Timestamp::now();
        let line = if self.json {
            render::json(&format!("{now:.3}"), &self.of, &self.event, notified)
        } else {
            self.renderer.line(&self.clock(now), notified)
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    fn waiting(&mut self, why: &Why, until: Instant) {
        self.renderer.forget();
        let now = jiff::Timestamp::now();
        let wait = until.saturating_duration_since(Instant::now());
        let next = match wait.as_secs() {
            0 => "asking again".to_owned(),
            seconds => format!("asking again in {seconds} s"),
        };
        let why = match why {
            Why::Refused { status, reason, .. } => status_line(*status, reason),
            Why::Silent { .. } => "no answer from the server".to_owned(),
            Why::Terminated(reason) => format!("ended by the server: {}", ended(reason.as_deref())),
            Why::Expired => "ran out".to_owned(),
            Why::FlowLost(why) => clean(why),
            Why::Login(refused) => refused.to_string(),
            Why::Fetched | Why::Left => return,
        };
        eprintln!("{} {}  not watched now ({why}); {next}", self.clock(now), self.name);
    }

    fn clock(&self, at: jiff::Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }
}

/// Ctrl-C and a polite kill.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|why| Failure::Unreachable(format!("no signals: {why}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
