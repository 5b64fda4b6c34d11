'use strict';
// JsSIP as a phone: node phone.js HOST PORT USER PASSWORD [URL OF A WEBSOCKET], of HOST:PORT or of the domain DOMAIN. It registers, watches the plug, switches it by MESSAGE, waits
// until somebody else switches it, and leaves. Each step prints one line of JSON; any failure ends it with 1.

const JsSIP = require('jssip');
const { Frames, Stream } = require('./stream.js');

const [host, port, user, password, url] = process.argv.slice(2);
const domain = process.env.DOMAIN || `${host}:${port}`;
const PATIENCE = 20_000;

function tell(step, more = {}) {
  console.log(JSON.stringify({ step, ...more }));
}

function fail(why) {
  tell('failed', { why: String(why) });
  process.exit(1);
}

setTimeout(() => fail('it took too long'), PATIENCE * 3).unref();
process.on('uncaughtException', (error) => fail(error.stack));

/** The next event of that name, or a failure. */
function next(of, good, bad = []) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${good} within ${PATIENCE} ms`)), PATIENCE);
    of.once(good, (...values) => { clearTimeout(timer); resolve(values); });
    for (const name of bad) of.once(name, (...values) => { clearTimeout(timer); reject(new Error(`${name}: ${explain(values)}`)); });
  });
}

function explain(values) {
  return values.map((value) => (value && value.cause ? `${value.cause} ${value.response ? value.response.status_code : ''}` : String(value))).join(' ');
}

/** The `power` of a SenML pack (RFC 8428): base names are put in front. */
function power(text) {
  let base = '';
  for (const record of JSON.parse(text)) {
    base = record.bn ?? base;
    if ((base + (record.n ?? '')).split(/[/:.]/).pop() === 'power') return record.vb;
  }
  return undefined;
}

/** What the subscription tells, as a queue that can be waited on. */
class Watch {
  constructor(subscriber) {
    this.state = undefined;
    this.waiting = [];
    subscriber.on('notify', (last, request, body, type) => {
      if (type !== 'application/senml+json') return fail(`a NOTIFY of ${type}`);
      const on = power(body);
      if (on !== undefined) this.state = on;
      this.waiting = this.waiting.filter((look) => !look());
    });
  }

  /** Waits until the plug is said to be on (true) or off (false). */
  until(on) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`power is ${this.state}, not ${on}`)), PATIENCE);
      const look = () => (on === undefined ? this.state !== undefined : this.state === on) && (clearTimeout(timer), resolve(this.state), true);
      if (!look()) this.waiting.push(look);
    });
  }
}

/** Every cut of a stream gives the same messages. */
function framing() {
  const one = 'SIP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nab\u00e9';
  const bytes = Buffer.from(`\r\n${one}\r\n\r\nNOTIFY sip:a SIP/2.0\r\nl: 0\r\n\r\n`);
  for (let at = 0; at <= bytes.length; at += 1) {
    const frames = new Frames();
    const got = [...frames.push(bytes.subarray(0, at)), ...frames.push(bytes.subarray(at))];
    if (got.length !== 2 || got[0] !== one) fail(`cut at ${at}: ${JSON.stringify(got)}`);
  }
}

/** A WebSocket as web pages have it, or a plain connection. */
function socket() {
  if (!url) return new Stream(host, Number(port));
  // What a browser brings along.
  global.WebSocket = class extends require('ws') {
    constructor(to, protocol) { super(to, protocol, { origin: process.env.ORIGIN }); }
  };
  return new JsSIP.WebSocketInterface(url);
}

async function main() {
  framing();
  const ua = new JsSIP.UA({ sockets: [socket()], uri: `sip:${user}@${domain}`, password, register: false, session_timers: false });
  const connected = next(ua, 'connected', ['disconnected']);
  ua.start();
  await connected;
  const registered = next(ua, 'registered', ['registrationFailed']);
  ua.register();
  await registered;
  tell('registered');

  const plug = `sip:plug@${domain}`;
  const subscriber = ua.subscribe(plug, 'appliance', 'application/senml+json', { expires: 600 });
  const watch = new Watch(subscriber);
  const ended = next(subscriber, 'terminated');
  subscriber.subscribe();
  const before = await watch.until(undefined);
  tell('watching', { power: before });

  const reply = new Promise((resolve) => ua.on('newMessage', ({ originator, request }) => originator === 'remote' && resolve(request.body)));
  await new Promise((resolve, reject) => ua.sendMessage(plug, before ? 'off' : 'on', {
    eventHandlers: { succeeded: resolve, failed: (event) => reject(new Error(`MESSAGE: ${explain([event])}`)) },
  }));
  await watch.until(!before);
  tell('switched', { power: !before, reply: await reply });

  await watch.until(before);
  tell('heard', { power: before });

  subscriber.terminate();
  const [code, reason] = await ended;
  if (code !== subscriber.C.FINAL_NOTIFY_RECEIVED) fail(`the subscription ended with ${code}`);
  tell('left', { reason });
  const gone = next(ua, 'disconnected');
  ua.stop();
  await gone;
  process.exit(0);
}

main().catch((error) => fail(error.stack));
