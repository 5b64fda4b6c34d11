'use strict';
// SIP over a TCP connection, as a Socket of JsSIP: it knows WebSockets only, where each message comes alone.

const net = require('node:net');

/** Cuts the bytes of a connection into messages: a head, an empty line, Content-Length bytes. */
class Frames {
  constructor() {
    this.rest = Buffer.alloc(0);
  }

  /** The whole messages, as text, that are there with these bytes. */
  push(bytes) {
    this.rest = Buffer.concat([this.rest, bytes]);
    const messages = [];
    for (;;) {
      // Keep-alives between messages (RFC 5626 §3.5.1).
      while (this.rest.length >= 2 && this.rest[0] === 13 && this.rest[1] === 10) this.rest = this.rest.subarray(2);
      const end = this.rest.indexOf('\r\n\r\n');
      if (end < 0) return messages;
      const head = this.rest.toString('latin1', 0, end);
      const length = /^(?:content-length|l)[ \t]*:[ \t]*(\d+)/im.exec(head);
      if (!length) throw new Error(`a message without Content-Length on a stream:\n${head}`);
      const whole = end + 4 + Number(length[1]);
      if (this.rest.length < whole) return messages;
      messages.push(this.rest.toString('utf8', 0, whole));
      this.rest = this.rest.subarray(whole);
    }
  }
}

/** What JsSIP asks of a Socket: three properties, three methods, three events. */
class Stream {
  constructor(host, port) {
    this.host = host;
    this.port = port;
    this.via_transport = 'TCP';
    this.url = `tcp://${host}:${port}`;
    this.sip_uri = `sip:${host}:${port};transport=tcp`;
    this.onconnect = this.ondisconnect = this.ondata = () => {};
    this.connection = null;
  }

  connect() {
    if (this.connection) return;
    const frames = new Frames();
    const connection = net.connect(this.port, this.host);
    this.connection = connection;
    connection.on('connect', () => this.onconnect());
    connection.on('data', (bytes) => frames.push(bytes).forEach((message) => this.ondata(message)));
    connection.on('error', (error) => { this.why = error.message; });
    connection.on('close', (failed) => {
      if (this.connection !== connection) return;
      this.connection = null;
      this.ondisconnect(failed, 0, this.why);
    });
  }

  disconnect() {
    const connection = this.connection;
    this.connection = null;
    if (connection) connection.end();
  }

  send(message) {
    return Boolean(this.connection && this.connection.writable) && (this.connection.write(message), true);
  }
}

module.exports = { Frames, Stream };
