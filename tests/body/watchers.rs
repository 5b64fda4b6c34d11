use sipliance::body::watcherinfo::{
    Sequence, Watcher, WatcherEvent, WatcherInfo, WatcherList, WatcherStatus, read, write,
};
use sipliance::body::xwatcher;

use super::{golden, now, refused};

fn watcher(id: &str, status: WatcherStatus, event: WatcherEvent) -> Watcher {
    Watcher {
        id: id.to_owned(),
        uri: format!("sip:{id}@example.net"),
        display: None,
        status,
        event,
        expiration: None,
        duration_subscribed: Some(60),
    }
}

fn info() -> WatcherInfo {
    let mut neighbour = watcher("neighbour", WatcherStatus::Pending, WatcherEvent::Subscribe);
    neighbour.display = Some("Neighbour & \"Son\"".to_owned());
    neighbour.expiration = Some(3596);
    let list = WatcherList {
        resource: "sip:lamp.bedroom@home.example".to_owned(),
        package: "presence".to_owned(),
        watchers: vec![
            neighbour,
            watcher("ana", WatcherStatus::Active, WatcherEvent::Approved),
            watcher("patient", WatcherStatus::Waiting, WatcherEvent::Timeout),
            watcher("stranger", WatcherStatus::Terminated, WatcherEvent::Rejected),
            watcher("gone", WatcherStatus::Terminated, WatcherEvent::Giveup),
        ],
    };
    WatcherInfo { version: 3, full: false, lists: vec![list] }
}

#[test]
fn documents_of_ours() {
    let info = info();
    golden("watchers.watcherinfo.xml", write(&info));
    assert_eq!(read(write(&info).as_bytes()).unwrap(), info);
    golden("watchers.xwatcher.xml", xwatcher::write(&info.lists[0], now()));
}

/// Waiting is pending, rejected is rejected, what ended otherwise is not told.
/// Proves: WI-8
#[test]
fn the_states_of_2000() {
    let list = xwatcher::read(xwatcher::write(&info().lists[0], now()).as_bytes(), now()).unwrap();
    let seen: Vec<_> =
        list.watchers.iter().map(|it| (it.uri.as_str(), it.status, it.duration_subscribed)).collect();
    assert_eq!(
        seen,
        [
            ("sip:neighbour@example.net", WatcherStatus::Pending, Some(60)),
            ("sip:ana@example.net", WatcherStatus::Active, Some(60)),
            ("sip:patient@example.net", WatcherStatus::Pending, Some(60)),
            ("sip:stranger@example.net", WatcherStatus::Terminated, Some(60)),
        ]
    );
    assert_eq!(list.resource, "sip:lamp.bedroom@home.example");
}

/// Reads: WI-1
#[test]
fn versions() {
    let of = |version, full| WatcherInfo { version, full, lists: Vec::new() };
    for (version, full, last, sequence) in [
        (0, true, None, Sequence::Next),
        (7, false, None, Sequence::Gap),
        (4, false, Some(3), Sequence::Next),
        (5, false, Some(3), Sequence::Gap),
        (5, true, Some(3), Sequence::Next),
        (3, true, Some(3), Sequence::Old),
        (u32::MAX, false, Some(u32::MAX), Sequence::Old),
    ] {
        assert_eq!(of(version, full).sequence(last), sequence, "{version} after {last:?}");
    }
}

/// Reads: WI-6
#[test]
fn what_is_no_watcher_information() {
    let doc = |inside: &str| {
        format!(
            "<watcherinfo xmlns='urn:ietf:params:xml:ns:watcherinfo' version='0' state='full'>\
             <watcher-list resource='sip:a@h' package='presence'>\n{inside}</watcher-list></watcherinfo>"
        )
    };
    let watcher = "<watcher id='w' status='active' event='subscribe'>sip:b@h</watcher>";
    assert!(read(doc(watcher).as_bytes()).is_ok());
    refused(
        read,
        &[
            ("<watcherinfo version='0' state='full'/>", "namespace of <watcherinfo>"),
            (&doc("").replace("version='0'", ""), "version of <watcherinfo> is missing"),
            (
                &doc("").replace("version='0'", "version='99999999999'"),
                "version of <watcherinfo> is \"99999999999\"",
            ),
            (&doc("").replace("'full'", "'half'"), "not full or partial"),
            (&doc("").replace("package='presence'", ""), "package of <watcher-list> is missing"),
            (&doc(&watcher.repeat(513)), "more than 512 watchers"),
            (&doc(&watcher.repeat(2)), "two watchers have the same id"),
            (&doc(&watcher.replace("'w'", "'a b'")), "id of <watcher> is \"a b\", not a token"),
            (&doc(&watcher.replace("'active'", "'asleep'")), "line 2: status of <watcher> is \"asleep\""),
            (&doc(&watcher.replace("'subscribe'", "'x'")), "event of <watcher> is \"x\""),
            (&doc(&watcher.replace("sip:b@h", " ")), "the address in <watcher> is missing"),
        ],
    );
    refused(
        |body| xwatcher::read(body, now()),
        &[
            ("<watcherinfo/>", "<presentity> of <watcherinfo> is missing"),
            (
                "<watcherinfo><presentity uri='sip:a@h'><watcher/></presentity></watcherinfo>",
                "uri of <watcher>",
            ),
            (
                "<watcherinfo><presentity uri='sip:a@h'><watcher uri='sip:b@h' status='x'/></presentity></watcherinfo>",
                "pending, active or rejected",
            ),
        ],
    );
}
