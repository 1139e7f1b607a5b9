// Fuzzes the client's side of TLS: what comes from a server is recorded, changed at random and
// played to it. Time and random bytes are replaced, so that a recording can be played again, and
// each run is the same whenever it is made.
//
//   tls_engine [--seconds N] [--seed S] [--from I] [--verbose] [FILE|FOLDER]...
//
// Plays the recordings, the files, and then changed recordings, from number I on, for N seconds;
// --verbose tells the numbers. With -fsanitize=fuzzer and -DBERTH_LIBFUZZER it is a target of
// libFuzzer.
//
// An input: a byte for the recording whose client it is played to, one for the way it is played,
// and what the server says.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "base/limits.h"
#include "base/random.h"
#include "unit/wire/tls_pair.h"
#include "wire/tls_handshake.h"

namespace {

berth::Random client_random(1);
berth::Random server_random(2);
berth::Random* current_random = &server_random;

constexpr time_t kNow = 1'790'000'000;  // in September 2026

}  // namespace

extern "C" ssize_t getrandom(void* out, size_t size, unsigned) {
  auto* bytes = static_cast<unsigned char*>(out);
  std::generate_n(bytes, size,
                  [] { return static_cast<unsigned char>(current_random->next() >> 32); });
  return static_cast<ssize_t>(size);
}

extern "C" time_t time(time_t* out) noexcept {
  if (out != nullptr) *out = kNow;
  return kNow;
}

namespace berth::wire {
namespace {

constexpr const char* kServer = "server.test:443";
constexpr const char* kName = "server.test";

struct Recording {
  std::shared_ptr<TlsSource> source;
  std::shared_ptr<const TlsSource::Ticket> ticket;
  std::string bytes;  // all that the server says
};

void begin_as_client() {
  client_random = Random(3);
  current_random = &client_random;
}

// What a server may say behind its handshake, good and bad.
void talk(TlsServer& server) {
  server.write("some bytes");
  server.write_empty_record();
  server.alert(MBEDTLS_SSL_ALERT_LEVEL_WARNING, MBEDTLS_SSL_ALERT_MSG_USER_CANCELED);
  server.write(std::string(20'000, 'x'));
  server.ask_for_renegotiation();
  server.write("some more");
  server.close();
}

Recording record(const TlsSettings& settings, const TlsService& service,
                 std::shared_ptr<const TlsSource::Ticket> ticket,
                 std::shared_ptr<TlsSource> source = nullptr) {
  if (source == nullptr) source = std::make_shared<TlsSource>(settings, kAllCiphers);
  Recording recording{std::move(source), std::move(ticket), {}};
  begin_as_client();
  TlsEngine client(*recording.source->context(), kName, recording.ticket);
  current_random = &server_random;
  TlsServer server(service);
  for (;;) {
    current_random = &client_random;
    const bool done = client.shake_hands() == TlsEngine::Shake::done;
    const std::string to_server = take(client);
    current_random = &server_random;
    server.feed(to_server);
    if (server.shake_hands() == 0 && done) break;
    const std::string to_client = server.take_output();
    recording.bytes += to_client;
    client.feed(to_client);
  }
  talk(server);
  recording.bytes += server.take_output();
  return recording;
}

class Recordings {
 public:
  Recordings() {
    TlsSettings plain = files_.settings();
    TlsSettings mutual = plain;
    const Identity us = authority().issue({.subject = "CN=us"});
    mutual.certificate = files_.write("client.pem", us.certificate);
    mutual.private_key = files_.write("client.key", us.key);
    mutual.alpn = {"h2", "http/1.1"};
    const Identity rsa = authority().issue({.names = {kName}, .rsa = true});
    const TlsService simple({.identities = {server_identity()}, .renegotiates = true});
    const TlsService with_tickets({.identities = {rsa}, .tickets = true, .renegotiates = true});
    const TlsService asking({.identities = {server_identity()},
                             .client_authority = authority().certificate(),
                             .alpn = {"h2", nullptr},
                             .renegotiates = true});
    all_.push_back(record(plain, simple, nullptr));
    all_.push_back(record(plain, with_tickets, nullptr));
    all_.push_back(record(mutual, asking, nullptr));
    all_.push_back(record(plain, with_tickets, ticket_of(with_tickets), all_[1].source));
  }

  const std::vector<Recording>& all() const { return all_; }

 private:
  std::shared_ptr<const TlsSource::Ticket> ticket_of(const TlsService& service) {
    TlsEngine client(*all_[1].source->context(), kName, nullptr);
    TlsServer server(service);
    BERTH_CHECK(shake_hands(client, server) == TlsEngine::Shake::done,
                "they understand each other");
    return client.ticket();
  }

  TlsFiles files_;
  std::vector<Recording> all_;
};

const std::vector<Recording>& recordings() {
  static const Recordings it;
  return it.all();
}

// ---- one run ----

void check_output(TlsEngine& engine) {
  BERTH_CHECK(engine.to_send().size() <= 6 * kMaxTlsRecordBytes, "what waits has a bound");
  engine.sent(engine.to_send().size());
}

// Until it wants more; whether it goes on.
bool read_some(TlsEngine& engine) {
  std::array<char, 3000> bytes;
  TlsEngine::Read read{};
  do {
    read = engine.read(bytes);
    check_output(engine);
  } while (read.got == TlsEngine::Got::bytes);
  BERTH_CHECK(read.got != TlsEngine::Got::failed || !engine.why().empty(),
              "a failure has a reason");
  return read.got == TlsEngine::Got::nothing;
}

// Once the handshake is over.
void converse(TlsEngine& engine, std::string_view bytes, size_t piece) {
  engine.keys();
  engine.ticket();
  engine.write("a request");
  bool goes_on = read_some(engine);
  while (goes_on && !bytes.empty()) {
    bytes.remove_prefix(engine.feed(bytes.substr(0, piece)));
    goes_on = read_some(engine);
  }
  engine.end();
  BERTH_CHECK(!read_some(engine), "all comes to an end");
  engine.close();
  check_output(engine);
}

// Whether the handshake was done.
bool play_to_engine(const Recording& recording, std::string_view bytes, size_t piece) {
  TlsEngine engine(*recording.source->context(), kName, recording.ticket);
  TlsEngine::Shake shake = engine.shake_hands();
  check_output(engine);
  while (shake == TlsEngine::Shake::goes_on && !bytes.empty()) {
    const size_t fed = engine.feed(bytes.substr(0, piece));
    BERTH_CHECK(fed > 0, "who wants bytes has room for them");
    bytes.remove_prefix(fed);
    shake = engine.shake_hands();
    check_output(engine);
  }
  engine.end();
  if (shake == TlsEngine::Shake::goes_on) shake = engine.shake_hands();
  BERTH_CHECK(shake != TlsEngine::Shake::goes_on, "the end of the connection is the end");
  if (shake == TlsEngine::Shake::failed) {
    BERTH_CHECK(!engine.why().empty(), "a failure has a reason");
    return false;
  }
  converse(engine, bytes, piece);
  return true;
}

// The same by TlsHandshake.
bool play_to_handshake(const Recording& recording, std::string_view bytes, size_t piece) {
  recording.source->keep(kServer, recording.ticket);
  TlsHandshake handshake(recording.source, kServer, kName);
  for (;;) {
    switch (handshake.state()) {
      case Exchange::State::computing: handshake.compute(); break;
      case Exchange::State::sending: handshake.sent(handshake.to_send()[0].size()); break;
      case Exchange::State::expecting: {
        const size_t fed = handshake.feed(bytes.substr(0, piece));
        BERTH_CHECK(fed > 0 || bytes.empty(), "who wants bytes takes them");
        bytes.remove_prefix(fed);
        if (fed == 0) handshake.end();
        break;
      }
      case Exchange::State::failed:
        BERTH_CHECK(!handshake.why().empty(), "a failure has a reason");
        return false;
      case Exchange::State::done: {
        const std::unique_ptr<TlsEngine> engine = handshake.take_engine();
        BERTH_CHECK(engine->keys().has_value(), "no byte is taken that is not of the handshake");
        converse(*engine, bytes, piece);
        return true;
      }
    }
  }
}

bool play(std::string_view input) {
  if (input.size() < 2) return false;
  constexpr size_t kPieces[] = {1 << 20, 4096, 1000, 100, 13, 1};
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(input[at]); };
  const Recording& recording = recordings()[byte(0) % recordings().size()];
  const size_t piece = kPieces[(byte(1) >> 1) % std::size(kPieces)];
  begin_as_client();
  return byte(1) % 2 == 0 ? play_to_engine(recording, input.substr(2), piece)
                          : play_to_handshake(recording, input.substr(2), piece);
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

// ---- how recordings are changed ----

// Where records begin, and the end.
std::vector<size_t> records_of(const std::string& bytes) {
  std::vector<size_t> found{0};
  while (found.back() + 5 <= bytes.size()) {
    const size_t at = found.back();
    const size_t size = size_t{static_cast<unsigned char>(bytes[at + 3])} << 8 |
                        static_cast<unsigned char>(bytes[at + 4]);
    found.push_back(std::min(bytes.size(), at + 5 + size));
  }
  return found;
}

class Changer {
 public:
  explicit Changer(uint64_t seed) : random_(seed) {}

  std::string input() {
    const size_t which = below(recordings().size());
    std::string bytes = recordings()[which].bytes;
    for (size_t times = 1 + below(4); times > 0 && !bytes.empty(); --times) change(bytes);
    return std::string{static_cast<char>(which), static_cast<char>(random_.next())} + bytes;
  }

 private:
  size_t below(size_t bound) { return random_.below(bound); }

  // Most of what is interesting is at the beginning, before all is encrypted.
  size_t place(const std::string& bytes) {
    return below(below(4) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 1500));
  }

  void change(std::string& bytes) {
    const size_t at = place(bytes);
    const size_t size = std::min(bytes.size() - at, 1 + below(below(3) == 0 ? 600 : 8));
    constexpr char kValues[] = {0, 1, 2, 20, 21, 22, 23, 127, -128, -2, -1};
    switch (below(8)) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
      case 1: bytes[at] = kValues[below(std::size(kValues))]; break;
      case 2: bytes.erase(at, size); break;
      case 3: bytes.insert(place(bytes), bytes.substr(at, size)); break;
      case 4: bytes.resize(at); break;
      case 5:
        for (size_t i = at; i < at + size; ++i) bytes[i] = static_cast<char>(random_.next());
        break;
      case 6: move_record(bytes); break;
      case 7: change_length(bytes); break;
    }
  }

  // Takes a record out, or puts it somewhere else, or there too.
  void move_record(std::string& bytes) {
    const std::vector<size_t> records = records_of(bytes);
    if (records.size() < 2) return;
    const size_t which = below(records.size() - 1);
    const std::string record = bytes.substr(records[which], records[which + 1] - records[which]);
    const size_t how = below(3);
    const size_t where = records[below(records.size())];
    if (how != 0) bytes.insert(where, record);
    if (how != 1)
      bytes.erase(records[which] + (how != 0 && where <= records[which] ? record.size() : 0),
                  record.size());
  }

  void change_length(std::string& bytes) {
    const std::vector<size_t> records = records_of(bytes);
    if (records.size() < 2) return;
    const size_t at = records[below(records.size() - 1)] + 3 + below(2);
    bytes[at] = static_cast<char>(bytes[at] + static_cast<char>(below(9)) - 4);
  }

  Random random_;
};

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Options {
  long seconds = 2;
  uint64_t seed = 1;
  uint64_t from = 0;
  bool verbose = false;
  std::vector<std::filesystem::path> files;
};

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const auto number = [&] { return std::strtoull(++i < count ? words[i] : "0", nullptr, 10); };
    if (word == "--seconds") {
      options.seconds = static_cast<long>(number());
    } else if (word == "--seed") {
      options.seed = number();
    } else if (word == "--from") {
      options.from = number();
    } else if (word == "--verbose") {
      options.verbose = true;
    } else if (std::filesystem::is_directory(word)) {
      for (const auto& entry : std::filesystem::directory_iterator(word)) {
        options.files.push_back(entry.path());
      }
    } else {
      options.files.emplace_back(word);
    }
  }
  return options;
}

int fuzz(const Options& options) {
  for (size_t i = 0; i < recordings().size(); ++i) {
    for (char way = 0; way < 12; ++way) {
      const bool done = play(std::string{static_cast<char>(i), way} + recordings()[i].bytes);
      BERTH_CHECK(done, "what was recorded can be played again");
    }
  }
  for (const std::filesystem::path& path : options.files) play(contents_of(path));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
  uint64_t number = options.from;
  uint64_t done = 0;
  for (; std::chrono::steady_clock::now() < until; ++number) {
    if (options.verbose) std::fprintf(stderr, "--seed %lu --from %lu\n", options.seed, number);
    if (play(Changer(options.seed << 32 | number).input())) ++done;
  }
  std::printf(
      "%zu recordings, %zu files, %lu changed recordings with seed %lu, of which %lu shook "
      "hands\n",
      recordings().size(), options.files.size(), number - options.from, options.seed, done);
  return 0;
}

}  // namespace
}  // namespace berth::wire

int main(int count, char** words) {
  return berth::wire::fuzz(berth::wire::parse(count, words));
}
#endif
