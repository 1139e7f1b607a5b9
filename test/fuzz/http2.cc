// Fuzzes both sides of HTTP/2: what a peer says in a conversation is recorded, changed at random
// and played to a connection whose driver acts at random. Each run is the same whenever it is made.
//
// Inputs that are made are changed recordings; the command line is that of fuzz/runner.h.
//
// An input: a byte for the side and the way it is played, one for what the driver does, and what
// the peer says.

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "base/random.h"
#include "fuzz/runner.h"
#include "unit/wire/http2_frames.h"
#include "wire/http2_connection.h"

namespace berth::wire {
namespace {

using Role = Http2Connection::Role;

Http2Headers headers_of(const frames::Pairs& pairs) {
  Http2Headers headers;
  for (const auto& [name, value] : pairs) headers.add(name, value);
  return headers;
}

// ---- a driver that acts at random, and watches what it is told ----

class Driver final : public Http2Connection::Events {
 public:
  Driver(Role role, uint64_t seed)
      : role_(role), random_(seed), connection_(role, kSettings, *this) {}

  Http2Connection& connection() { return connection_; }

  void begin() {
    for (size_t count = 1 + random_.below(5); role_ == Role::client && count > 0; --count) {
      open();
    }
  }

  // Something or other, between bytes that come.
  void act() {
    switch (random_.below(role_ == Role::client ? 12 : 10)) {
      case 0:  // who pings without end has to keep them all, if nobody takes them
        if (pings_++ < 100) connection_.ping(random_.next());
        break;
      case 1: connection_.tick(); break;
      case 2:
        if (random_.below(20) == 0) connection_.close_gracefully();
        break;
      case 3:
        if (random_.below(50) == 0) connection_.close(kHttp2InternalError, "enough");
        break;
      case 4:
      case 5:
      case 6: act_on_some(); break;
      case 10:
      case 11: open(); break;
      default: break;
    }
  }

  // Sends some of what there is.
  std::string take() {
    connection_.fill();
    std::string bytes;
    for (const iovec& piece : connection_.to_send()) {
      bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    }
    BERTH_CHECK(bytes.size() == connection_.to_send_bytes(), "the pieces are all there is");
    BERTH_CHECK(bytes.size() <= kMaxHttp2OutputBytes + 128 * 1024, "what waits has a bound");
    if (random_.below(4) == 0) bytes.resize(random_.below(bytes.size() + 1));
    connection_.sent(bytes.size());
    return bytes;
  }

  void check() const {
    BERTH_CHECK(connection_.memory() <= kMost, "memory has a bound");
    BERTH_CHECK(connection_.open_streams() >= live_.size(), "streams that are told of are open");
  }
  void check_over() const {
    BERTH_CHECK(live_.empty(), "all streams are closed");
    BERTH_CHECK(connection_.open_streams() == 0, "no stream is forgotten");
  }

  size_t messages() const { return messages_; }

 private:
  static constexpr Http2Connection::Settings kSettings{.max_concurrent_streams = 20,
                                                       .stream_window = 70'000,
                                                       .connection_window = 200'000,
                                                       .max_header_bytes = 3000};
  static constexpr size_t kMost = 1024 * 1024;

  struct Note {
    bool has_headers = false;
    bool peer_ended = false;
    bool answered = false;
    bool ended = false;
    bool is_reset = false;
    bool may_be_silent = false;  // it was too large
    size_t unconsumed = 0;
  };
  Note& note(Http2Stream& stream) {
    BERTH_CHECK(live_.contains(&stream), "nothing comes behind the end");
    return *static_cast<Note*>(stream.owner);
  }

  void open() {
    Http2Headers headers = headers_of(frames::kRequest);
    headers.add("x-number", std::to_string(random_.next()));
    if (random_.below(20) == 0) headers.add("x-large", std::string(30'000, 'x'));
    auto* it = new Note;
    it->answered = true;
    it->ended = random_.below(3) == 0;
    Http2Stream* stream = connection_.open(std::move(headers), it->ended, it);
    if (stream == nullptr) {
      delete it;
    } else {
      live_.insert(stream);
      act_on(*stream);
    }
  }

  void act_on_some() {
    if (live_.empty()) return;
    // By its place in memory would not be the same each time.
    const auto oldest = std::min_element(live_.begin(), live_.end(),
                                         [](auto* a, auto* b) { return a->id < b->id; });
    act_on(**oldest);
  }

  void act_on(Http2Stream& stream) {
    Note& it = note(stream);
    switch (random_.below(9)) {
      case 0: answer(stream, it); break;
      case 1:
      case 2:
        if (it.answered && !it.ended) {
          it.ended = random_.below(3) == 0;
          connection_.send_data(stream, std::string(random_.below(40'000), 'd'), it.ended);
        }
        break;
      case 3:
        if (it.answered && !it.ended) {
          it.ended = true;
          connection_.send_trailers(stream, headers_of({{"grpc-status", "0"}}));
        }
        break;
      case 4:
      case 5:
        connection_.consume(stream, it.unconsumed);
        it.unconsumed = 0;
        break;
      case 6:
        if (random_.below(4) == 0) {
          connection_.reset(stream, static_cast<uint32_t>(random_.below(15)));
          it.is_reset = true;
        }
        break;
      default: break;
    }
  }

  void answer(Http2Stream& stream, Note& it) {
    if (role_ == Role::client || it.answered) return;
    if (random_.below(4) == 0) connection_.inform(stream, headers_of({{":status", "103"}}));
    it.answered = true;
    it.ended = random_.below(2) == 0;
    connection_.respond(stream, headers_of({{":status", "200"}, {"a", "b"}}), it.ended);
  }

  void headers(Http2Stream& stream, Http2Headers&& headers, Http2Kind kind, bool end) override {
    const bool begins = kind == Http2Kind::request;
    if (begins) {
      BERTH_CHECK(live_.insert(&stream).second, "a request comes once");
      stream.owner = new Note;
    }
    Note& it = note(stream);
    BERTH_CHECK(!it.peer_ended && !it.is_reset, "nothing comes behind an end");
    BERTH_CHECK(headers.bytes() <= kSettings.max_header_bytes, "headers have a bound");
    const bool first = kind == Http2Kind::request || kind == Http2Kind::response;
    BERTH_CHECK(kind == Http2Kind::trailers ? it.has_headers && end : !it.has_headers,
                "headers come first, and trailers last");
    if (first) it.has_headers = true;
    it.peer_ended = end;
    ++messages_;
    act_on(stream);
  }

  void too_large(Http2Stream& stream) override {
    BERTH_CHECK(live_.insert(&stream).second, "a request comes once");
    auto* it = new Note;
    it->is_reset = true;
    stream.owner = it;
    if (random_.below(2) == 0) {
      connection_.respond(stream, headers_of({{":status", "200"}}), true);
      it->answered = it->ended = true;
    } else {
      it->answered = it->ended = true;  // by the connection, once this returns
    }
  }

  void data(Http2Stream& stream, std::string_view bytes, bool end) override {
    Note& it = note(stream);
    BERTH_CHECK(it.has_headers && !it.peer_ended && !it.is_reset, "data comes in its place");
    BERTH_CHECK(end || !bytes.empty(), "data are some");
    it.unconsumed += bytes.size();
    BERTH_CHECK(it.unconsumed <= kSettings.stream_window, "the window holds");
    it.peer_ended = end;
    act_on(stream);
  }

  void sent(Http2Stream& stream, size_t bytes) override {
    BERTH_CHECK(bytes > 0, "some bytes are sent");
    note(stream);
  }

  void closed(Http2Stream& stream, uint32_t, bool unseen) override {
    Note& it = note(stream);
    BERTH_CHECK(!unseen || !it.has_headers, "what was answered was seen");
    connection_.reset(stream, kHttp2Cancel);  // does nothing
    delete &it;
    live_.erase(&stream);
  }

  void settings(uint32_t) override {}
  void goaway(int32_t, uint32_t, std::string_view debug) override {
    BERTH_CHECK(debug.size() <= kMaxMessageBytes, "texts have a bound");
  }
  void pong(uint64_t) override {}

  const Role role_;
  Random random_;
  std::set<Http2Stream*> live_;
  size_t messages_ = 0;
  size_t pings_ = 0;
  Http2Connection connection_;
};

// ---- one run ----

// How many messages came through.
size_t play(std::string_view input) {
  if (input.size() < 2) return 0;
  constexpr size_t kPieces[] = {1 << 20, 4096, 1000, 100, 13, 1};
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(input[at]); };
  Driver driver(byte(0) % 2 == 0 ? Role::client : Role::server, byte(1));
  const size_t piece = kPieces[(byte(0) >> 1) % std::size(kPieces)];
  const bool stalls = byte(0) >= 192;  // nobody takes what it says
  driver.begin();
  bool good = true;
  for (std::string_view bytes = input.substr(2); !bytes.empty() && good;) {
    const size_t size = std::min(piece, bytes.size());
    good = driver.connection().feed(bytes.substr(0, size));
    bytes.remove_prefix(size);
    if (!stalls) driver.take();
    driver.check();
    driver.act();
  }
  if (!good) {
    BERTH_CHECK(!driver.connection().why().empty(), "a failure has a reason");
    driver.check_over();
    while (driver.connection().wants_to_send()) driver.take();
    BERTH_CHECK(driver.connection().done(), "a failure is the end");
  }
  driver.connection().end(kHttp2InternalError);
  driver.check_over();
  BERTH_CHECK(driver.connection().done(), "the end is the end");
  return driver.messages();
}

}  // namespace
}  // namespace berth::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::wire::play({reinterpret_cast<const char*>(data), size});
  return 0;
}

#ifndef BERTH_LIBFUZZER
namespace berth::wire {
namespace {

// ---- recordings, and how they are changed ----

struct Recording {
  Role role;  // whom it is played to
  std::vector<std::string> pieces;
};

void add_frames(std::string_view bytes, Recording& recording) {
  if (bytes.starts_with(frames::kPreface)) {
    recording.pieces.emplace_back(frames::kPreface);
    bytes.remove_prefix(frames::kPreface.size());
  }
  for (const frames::Frame& it : frames::parse(bytes)) {
    recording.pieces.push_back(frames::frame(it.type, it.flags, it.stream, it.payload));
  }
}

// Two drivers that act at random talk with each other.
void record(uint64_t seed, std::vector<Recording>& all) {
  Driver client(Role::client, seed);
  Driver server(Role::server, seed + 1000);
  Recording to_client{Role::client, {}};
  Recording to_server{Role::server, {}};
  std::string client_said;
  std::string server_said;
  client.begin();
  for (int turn = 0; turn < 40; ++turn) {
    const std::string up = client.take();
    client_said += up;
    server.connection().feed(up);
    const std::string down = server.take();
    server_said += down;
    client.connection().feed(down);
    client.act();
    server.act();
  }
  add_frames(client_said, to_server);
  add_frames(server_said, to_client);
  for (Driver* driver : {&client, &server}) driver->connection().end(kHttp2NoError);
  all.push_back(to_client);
  all.push_back(to_server);
}

// What connections of ours do not say.
Recording written() {
  using namespace frames;
  Recording it{Role::server, {}};
  it.pieces = {
      std::string(kPreface),
      frames::settings({{kInitialWindowSize, 100}}),
      settings_ack(),
      headers(1, kRequest, false),
      data(1, "some", false),
      frames::settings({{kInitialWindowSize, 10}}),
      headers(1, {{"a", "b"}}, true),
      frame(kHeaders, kEnd, 3, block(kRequest)),
      frame(kContinuation, 0, 3, block({{"b", "c"}})),
      frame(kContinuation, kEndHeaders, 3, block({{"c", "d"}})),
      headers(
          5,
          {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"x", std::string(3000, 'x')}},
          false),
      data(5, std::string(5000, 'y'), false),
      frame(kPriority, 0, 5, std::string("\0\0\0\1\7", 5)),
      window_update(0, 1000),
      window_update(1, 1000),
      rst_stream(5, kHttp2Cancel),
      ping("12345678"),
      frame(kData, kPadded | kEnd, 7, "\3abcdef"),
      goaway(0, kHttp2NoError, "bye"),
  };
  return it;
}

const std::vector<Recording>& recordings() {
  static const std::vector<Recording> all = [] {
    std::vector<Recording> some{written()};
    for (uint64_t seed = 1; seed <= 20; ++seed) record(seed, some);
    return some;
  }();
  return all;
}

class Changer {
 public:
  explicit Changer(Random& random) : random_(random) {}

  std::string input() {
    const Recording& recording = recordings()[below(recordings().size())];
    std::vector<std::string> pieces = recording.pieces;
    // Nearly all that is strange ends a connection: what comes before it may be strange once.
    for (size_t times = below(4); times > 0 && !pieces.empty(); --times) change(pieces);
    const auto way = static_cast<unsigned char>(random_.next());
    std::string bytes(1, static_cast<char>((way & ~1) | (recording.role == Role::server ? 1 : 0)));
    bytes += static_cast<char>(random_.next());
    for (const std::string& piece : pieces) bytes += piece;
    return bytes;
  }

 private:
  size_t below(size_t bound) { return random_.below(bound); }

  void change(std::vector<std::string>& pieces) {
    const size_t at = below(pieces.size());
    const auto place = pieces.begin() + static_cast<ptrdiff_t>(at);
    const std::string piece = *place;
    switch (below(7)) {
      case 0: pieces.erase(place); break;
      case 1:
        pieces.insert(pieces.begin() + static_cast<ptrdiff_t>(below(pieces.size())), piece);
        break;
      case 2: pieces.insert(place, 1 + below(30), piece); break;
      case 3: std::swap(pieces[at], pieces[below(pieces.size())]); break;
      case 4: change_head(pieces[at]); break;
      case 5: change_bytes(pieces[at]); break;
      case 6: {  // of another conversation
        const auto& others = recordings()[below(recordings().size())].pieces;
        if (!others.empty()) pieces.insert(place, others[below(others.size())]);
        break;
      }
    }
  }

  void change_head(std::string& piece) {
    if (piece.size() < 9) return;
    constexpr size_t kPlaces[] = {2, 3, 4, 8, 8, 8};
    char& byte = piece[kPlaces[below(std::size(kPlaces))]];
    byte = static_cast<char>(below(3) == 0 ? random_.next() : below(12));
  }

  void change_bytes(std::string& piece) {
    if (piece.empty()) return;
    const size_t at = below(piece.size());
    switch (below(3)) {
      case 0: piece[at] = static_cast<char>(piece[at] ^ (1 << below(8))); break;
      case 1: piece[at] = static_cast<char>(random_.next()); break;
      default: piece.resize(at);
    }
  }

  Random& random_;
};

}  // namespace
}  // namespace berth::wire

int main(int count, char** words) {
  using berth::wire::Changer;
  return berth::fuzz::run(
      count, words,
      {.play = [](std::string_view input) { return berth::wire::play(input) > 0; },
       .make = [](berth::Random& random) { return Changer(random).input(); }});
}
#endif
