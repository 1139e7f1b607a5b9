// What the policy of the channel pools tells its driver to do. The driver carries actions out in
// order and reports what came of them as events of Hub.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/action_queue.h"
#include "base/close_reason.h"
#include "base/ids.h"
#include "channel/grpc_code.h"

namespace berth::channel {

// Look up the addresses of an endpoint; one that needs no look-up has one address. Answer, always:
// Hub::resolved or Hub::resolve_failed, but not if the pool has gone.
struct Resolve {
  PoolId pool;
  uint32_t endpoint;  // index into ChannelPolicy::endpoints
};

// Open this channel: connect, TLS, SETTINGS. Answer: Hub::connected or Hub::dial_failed, unless
// Close comes first.
struct Dial {
  ConnectionId channel;
  PoolId pool;
  uint32_t endpoint;
  std::string address;  // as Hub::resolved named it
};

// Carry this stream on that channel from now on. Answer, once: Hub::stream_failed or
// Hub::end_stream.
struct Assign {
  StreamId stream;
  ConnectionId channel;
};

// Answer the stream's client with this status. The stream is over; nothing is to be answered.
struct End {
  StreamId stream;
  GrpcCode code;
  std::string text;
};

// Answer: Hub::pong; whatever else is heard will do.
struct Ping {
  ConnectionId channel;
};

// Say GOAWAY if that is possible and close the connection; abandon the dial. Report each stream
// that it still carries by Hub::stream_failed first. Answer: Hub::closed.
struct Close {
  ConnectionId channel;
  CloseReason reason;
};

using Action = std::variant<Assign, End, Resolve, Dial, Ping, Close>;
using Actions = ActionQueue<Action>;

}  // namespace berth::channel
