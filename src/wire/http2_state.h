// How Http2Connection is made: a table of its streams, the windows of both directions, and what is
// to be framed next. Only wire/http2_*.cc includes it.
//
// What comes is parsed frame by frame: a payload is looked at when it is whole, but for data, which
// are passed on as they come. What goes waits in its stream until fill(), since a header block must
// be encoded just when its frame is made, and data may be sent only as windows allow. Streams that
// have something to frame stand in a list and take turns.
//
// Http2BlockCheck and Http2BodyCheck judge messages; HPACK is nghttp2's (wire/http2_hpack.h).
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/list.h"
#include "wire/http2_arena.h"
#include "wire/http2_checks.h"
#include "wire/http2_connection.h"
#include "wire/http2_framing.h"
#include "wire/http2_hpack.h"
#include "wire/http2_output.h"

namespace berth::wire {

// What close_gracefully() pings with; a driver's payloads are numbers that count from 0.
inline constexpr std::string_view kHttp2Farewell = "farewell";

class Http2Connection::State {
 public:
  State(Role role, const Settings& settings, Events& events);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  bool feed(std::string_view bytes);
  const std::string& why() const { return why_; }
  void end(uint32_t error);
  void fill();
  bool wants_to_send() const;
  bool done() const;
  Http2Output& output() { return output_; }

  Http2Stream* open(Http2Headers&& headers, bool end, void* owner);
  bool is_closing() const;
  uint32_t room() const;
  size_t open_streams() const { return records_.size(); }

  void inform(Http2Stream& stream, Http2Headers&& headers);
  void respond(Http2Stream& stream, Http2Headers&& headers, bool end);
  void send_data(Http2Stream& stream, std::string_view bytes, bool end);
  void send_trailers(Http2Stream& stream, Http2Headers&& trailers);
  void reset(Http2Stream& stream, uint32_t error);
  void consume(Http2Stream& stream, size_t bytes);
  static size_t queued(const Http2Stream& stream);
  size_t held() const;

  void ping(uint64_t payload);
  void close_gracefully();
  void close(uint32_t error, std::string_view debug);
  void tick() { unrest_ = std::min<int64_t>(unrest_, 0); }
  size_t memory() const {
    return sizeof *this + arena_.bytes() + payload_.capacity() + answers_.capacity();
  }

 private:
  // What the peer has sent of its message.
  enum class Input : uint8_t { nothing, body, ended, ignored };
  // How much of ours is framed: nothing is given, its headers wait, they are framed, all is.
  enum class Output : uint8_t { nothing, headers, body, ended };
  // What the driver has ended its message with.
  enum class End : uint8_t { open, headers, data, trailers };
  // resetting: RST_STREAM waits for fill(); closing: the driver is being told.
  enum class Life : uint8_t { live, resetting, closing };

  struct Record : Http2Stream {
    ListLink<Record> link;
    ListLink<Record> turn;    // in one of the lists of what is to be framed
    ListLink<Record> credit;  // in crediting_
    Input input = Input::nothing;
    Output output = Output::nothing;
    End end = End::open;
    Life life = Life::live;
    bool announced = false;      // the driver knows of it
    bool peer_ended = false;     // it has said END_STREAM
    bool resets_at_end = false;  // the peer need not go on, once all is sent
    bool no_body = false;        // client: whatever the response says of its length
    uint32_t error = 0;          // what it is reset with
    int32_t window = 0;          // what may be sent; SETTINGS can make it negative
    uint32_t outstanding = 0;    // received, and not consumed
    uint32_t consumed = 0;       // and the peer has not been told
    Http2BodyCheck body;
    uint64_t headers_sent_at = 0;  // the output's count with their first byte; 0: not framed
    Http2Queue queue;
    Http2Headers headers;
    Http2Headers trailers;
    std::vector<Http2Headers> informational;
  };
  using Records = List<Record, &Record::link>;
  using Turns = List<Record, &Record::turn>;

  // broken: settle() ends all.
  enum class Stage { open, broken, over };
  // What comes next of the peer's bytes.
  enum class Reading : uint8_t { preface, head, payload, data, skipped };

  // --- the connection (http2_state.cc) ---
  void open_connection();
  void fail(uint32_t error, std::string why);
  // A rule of the protocol.
  void broken(uint32_t error, std::string_view rule);
  void fail_for_memory();
  void count_unrest();
  void answer(std::string_view frame);
  void write_goaway(uint32_t error, std::string_view debug);
  void close_all(uint32_t error);
  void settle();
  void give_goaway(int32_t last);

  // --- streams (http2_state.cc) ---
  Record* find(int32_t id);
  Record* make_record(int32_t id);
  bool is_idle(int32_t id) const;
  bool is_unseen(const Record& record, uint32_t error) const;
  void reset_record(Record& record, uint32_t error);
  // For a fault of the peer's.
  void reset_for_fault(Record& record, uint32_t error);
  void close_record(Record& record, uint32_t error);
  // What a stream may send ahead of consume(): before it has seen our SETTINGS, what RFC 9113 has.
  uint32_t stream_window() const { return std::max(settings_.stream_window, kHttp2FirstWindow); }
  void close_if_over(Record& record);
  void leave_lists(Record& record);
  void free_record(Record& record);

  // --- frames that come (http2_receive.cc) ---
  void read(std::string_view bytes);
  size_t read_preface(std::string_view bytes);
  size_t read_head(std::string_view bytes);
  size_t read_payload(std::string_view bytes);
  size_t read_data(std::string_view bytes);
  size_t skip(std::string_view bytes);
  void on_head();
  bool may_come();
  void on_payload(std::string_view payload);
  void on_rst_stream(std::string_view payload);
  void on_settings(std::string_view payload);
  bool on_setting(Http2Setting setting, uint32_t value, std::optional<uint32_t>& window);
  void set_first_window(uint32_t size);
  void on_ping(std::string_view payload);
  void on_pong(std::string_view payload);
  void on_goaway(std::string_view payload);
  void on_window_update(std::string_view payload);

  // --- messages that come (http2_messages.cc) ---
  void on_headers(std::string_view payload);
  void on_push_promise(std::string_view payload);
  bool remove_padding(std::string_view& payload);
  bool accept_stream(Record*& record);
  void begin_block(Record* record);
  void on_fragment(std::string_view fragment);
  void on_field(const Http2Field& decoded);
  void end_block();
  void take_headers(Record& record, bool end);
  void refuse_too_large(Record& record);
  void begin_data();
  void end_data();
  void take_data(std::string_view bytes, bool end);

  // --- what goes (http2_send.cc) ---
  bool frame_next();
  void pursue(Record& record);
  void frame(Record& record);
  bool frame_headers(Record& record, const Http2Headers& headers, bool end);
  void frame_data(Record& record);
  void frame_end(Record& record);
  void frame_reset(Record& record);
  bool frame_credit();
  void note_consumed(Record& record, size_t bytes);
  bool owes_credit() const;

  const Role role_;
  const Settings settings_;
  Events& events_;
  Http2Arena& arena_;
  HpackEncoder encoder_;
  HpackDecoder decoder_;
  Stage stage_ = Stage::open;
  Records records_;
  absl::flat_hash_map<int32_t, Record*> streams_;
  Record* last_found_ = nullptr;
  uint32_t next_id_ = 1;     // client
  int32_t last_framed_ = 0;  // client: streams up to it are not idle
  int32_t last_peer_ = 0;    // server: the last that was opened; client: that was promised
  std::string why_;

  // What is to be sent. A stream stands in one of these at most: it is to be reset; it has to frame
  // what needs no window of the connection; it has data, and a window of its own.
  Http2Output output_;
  std::string answers_;  // framed, and sent before all else
  Turns resetting_;
  Turns heading_;
  Turns sending_;
  Record* framing_ = nullptr;
  List<Record, &Record::credit> crediting_;

  // The frame that is coming.
  Reading reading_;
  std::array<char, kHttp2HeadBytes> head_bytes_;
  size_t head_size_ = 0;  // of these, or of the preface
  Http2FrameHead head_;
  std::string payload_;
  uint32_t left_ = 0;  // of a payload that is not gathered
  std::optional<uint32_t> padding_;
  bool some_data_ = false;

  // The header block that is coming, and whom it is for; nobody: it is only decoded.
  bool in_block_ = false;
  int32_t block_stream_ = 0;
  bool block_ends_stream_ = false;
  Record* incoming_ = nullptr;
  size_t continuations_ = 0;
  std::optional<Http2BlockCheck> block_;
  Http2Headers fields_;
  size_t field_bytes_ = 0;
  const char* malformed_ = nullptr;

  // Windows: what the peer allows us, and a new stream; what we allow it, and what it was not told.
  int64_t window_ = kHttp2FirstWindow;
  int32_t first_window_ = kHttp2FirstWindow;
  int64_t peer_window_ = kHttp2FirstWindow;
  int64_t consumed_ = 0;
  int64_t late_ = 0;  // what may still come for streams that are over, before the peer has heard
  uint32_t max_streams_;  // the peer's
  bool has_settings_ = false;
  bool settings_taken_ = false;  // the peer has acknowledged ours

  int64_t unrest_ = 0;  // below zero: what is on its way for streams that we have reset
  bool is_closing_ = false;
  std::optional<int32_t> goaway_last_;  // of the GOAWAY that we mean, once it is given
  int32_t peer_goaway_last_ = kHttp2LastStream;
  bool goaway_came_ = false;
  // What the connection ends with.
  uint32_t error_ = kHttp2NoError;
  bool close_wanted_ = false;
  std::string debug_;
};

}  // namespace berth::wire
