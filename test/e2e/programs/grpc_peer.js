// Both sides of gRPC with @grpc/grpc-js, and no proto: requests and answers are bytes.
//
//   grpc_peer.js serve PORT         a server at 127.0.0.1, until it is killed
//   grpc_peer.js call TARGET STORY  a client: prints what it was told
"use strict";

const { createRequire } = require("node:module");
// Where npm has put it, which is not beside this file.
const grpc = createRequire(process.env.MODULES + "/")("@grpc/grpc-js");

const NO_LIMITS = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const SOON_MS = 60000;
const LARGE = 64 << 20;
const MANY = 100;
const same = (bytes) => bytes;
const isMine = (name) => name.startsWith("x-");

// ---- the server ----

const counts = {};
const add = (name) => { counts[name] = (counts[name] || 0) + 1; };

function too(name) {
  return name.endsWith("-bin") ? name.replace(/-bin$/, "-too-bin") : `${name}-too`;
}

const UNARY = {
  echo(call, done) {
    const head = new grpc.Metadata(), tail = new grpc.Metadata();
    for (const name of Object.keys(call.metadata.getMap()).filter(isMine)) {
      for (const value of call.metadata.get(name)) {
        head.add(name, value);
        tail.add(too(name), value);
      }
    }
    call.sendMetadata(head);
    done(null, call.request, tail);
  },
  who: (call, done) => done(null, Buffer.from("grpc-js")),
  state: (call, done) => done(null, Buffer.from(JSON.stringify(counts))),
  hold(call) {
    call.on("cancelled", () => add("cancelled"));
  },
  refuse(call, done) {
    const metadata = new grpc.Metadata();
    metadata.set("why-bin", Buffer.from([0, 255]));
    metadata.set("grpc-status-details-bin", call.request);
    done({ code: grpc.status.FAILED_PRECONDITION, details: "not so: 100 % über", metadata });
  },
};

const DOWN = {
  count(call) {
    const [number, size] = call.request.toString().split(" ").map(Number);
    for (let i = 0; i < number; ++i) call.write(Buffer.from(String(i).padEnd(size, ".")));
    call.end();
  },
  linger(call) {
    call.on("cancelled", () => add("cancelled"));
    call.write(Buffer.from("first"));
  },
};

function length(call, done) {
  let size = 0;
  call.on("data", (part) => { size += part.length; });
  call.on("end", () => done(null, Buffer.from(String(size))));
}

function both(call) {
  call.on("data", (message) => call.write(message));
  call.on("end", () => call.end());
}

function serve(port) {
  const server = new grpc.Server(NO_LIMITS);
  const register = (kind, name, method) => server.register(`/up/${name}`, (call, done) => {
    add(name);
    method(call, done);
  }, same, same, kind);
  for (const [name, method] of Object.entries(UNARY)) register("unary", name, method);
  for (const [name, method] of Object.entries(DOWN)) register("serverStream", name, method);
  register("clientStream", "length", length);
  register("bidi", "both", both);
  server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
  });
}

// ---- the client ----

const print = (...words) => console.log(words.join(" "));
const soon = (ms = SOON_MS) => ({ deadline: Date.now() + ms });

function printStatus({ code, details }) {
  print(code, ...(code !== grpc.status.OK && details ? [details] : []));
}

// The end of a call: its answers, if it streams them, and its status.
function ended(call) {
  return new Promise((resolve) => {
    const answers = [];
    call.on("data", (answer) => answers.push(answer));
    call.on("error", () => {});  // "status" tells the same
    call.on("status", (status) => resolve({ status, answers }));
  });
}

function unary(client, method, request, metadata = new grpc.Metadata(), options = soon()) {
  return new Promise((resolve) => {
    const told = { answer: null, head: null, status: null };
    const call = client.makeUnaryRequest(`/up/${method}`, same, same, request, metadata, options,
      (error, answer) => { told.answer = answer; });
    call.on("metadata", (head) => { told.head = head; });
    // The answer is told of before it; but not by every version.
    call.on("status", (status) => { told.status = status; setImmediate(() => resolve(told)); });
  });
}

function next(call) {
  return new Promise((resolve) => { call.once("data", resolve); });
}

async function kinds(client) {
  const { answer, status } = await unary(client, "echo", Buffer.from("hello"));
  print("echo", answer);
  printStatus(status);

  const length = await new Promise((resolve) => {
    const call = client.makeClientStreamRequest("/up/length", same, same, new grpc.Metadata(), soon(),
      (error, answer) => { call.answer = answer; });
    call.on("status", (status) => setImmediate(() => resolve({ status, answer: call.answer })));
    for (const part of ["a", "bc", "", "def"]) call.write(Buffer.from(part));
    call.end();
  });
  print("length", length.answer);
  printStatus(length.status);

  const count = await ended(client.makeServerStreamRequest("/up/count", same, same, Buffer.from("3 4"),
    new grpc.Metadata(), soon()));
  print("count", ...count.answers);
  printStatus(count.status);

  const both = client.makeBidiStreamRequest("/up/both", same, same, new grpc.Metadata(), soon());
  const end = ended(both);
  const answers = [];
  for (const part of ["x", "y", "z"]) {
    const answer = next(both);
    both.write(Buffer.from(part));
    answers.push(await answer);
  }
  both.end();
  const { status: last } = await end;
  print("both", ...answers);
  printStatus(last);
}

function printMetadata(where, metadata) {
  for (const name of Object.keys(metadata.getMap()).filter(isMine).sort()) {
    for (const value of metadata.get(name)) {
      print(where, name, Buffer.isBuffer(value) ? value.toString("hex") : value);
    }
  }
}

async function metadata(client) {
  const sent = new grpc.Metadata();
  sent.set("x-text", "plain");
  sent.set("x-blob-bin", Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
  const { head, status } = await unary(client, "echo", Buffer.alloc(0), sent);
  printMetadata("head", head);
  printMetadata("tail", status.metadata);
}

async function refused(client) {
  const { answer, status } = await unary(client, "refuse", Buffer.from([8, 9]));
  print(answer ? "an answer" : "no answer");
  printStatus(status);
  print("details", status.metadata.get("grpc-status-details-bin")[0].toString("hex"));
  print("why", status.metadata.get("why-bin")[0].toString("hex"));
}

async function deadline(client) {
  const { status } = await unary(client, "hold", Buffer.alloc(0), new grpc.Metadata(), soon(300));
  print(status.code);
}

async function cancel(client) {
  const call = client.makeServerStreamRequest("/up/linger", same, same, Buffer.alloc(0),
    new grpc.Metadata(), soon());
  const end = ended(call);
  print(await next(call));
  call.cancel();
  print((await end).status.code);
}

// The server cancels.
async function leave(client) {
  const { answers, status } = await ended(client.makeServerStreamRequest("/up/leave", same, same,
    Buffer.alloc(0), new grpc.Metadata(), soon()));
  for (const answer of answers) print(answer);
  print(status.code);
}

async function large(client) {
  const sent = Buffer.allocUnsafe(LARGE);
  for (let i = 0; i < sent.length; ++i) sent[i] = i * 7 / 256;
  const { answer, status } = await unary(client, "echo", sent);
  print(answer && sent.equals(answer) ? "the same" : "something else");
  print(status.code);
}

async function many(client) {
  const calls = Array.from({ length: MANY }, (_, i) => unary(client, "echo", Buffer.from(String(i))));
  const told = await Promise.all(calls);
  print(told.filter(({ answer, status }, i) => status.code === 0 && String(answer) === String(i)).length);
}

const STORIES = { kinds, metadata, refused, deadline, cancel, leave, large, many };

const [side, where, story] = process.argv.slice(2);
if (side === "serve") {
  serve(where);
} else {
  const client = new grpc.Client(where, grpc.credentials.createInsecure(), NO_LIMITS);
  STORIES[story](client).finally(() => client.close());
}
