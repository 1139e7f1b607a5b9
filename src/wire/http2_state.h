// How Http2Connection is made with nghttp2: one session, and a record for each of its streams.
// Only wire/http2_*.cc includes it.
//
// nghttp2 keeps the state of the connection, its windows and the compressors, and decides which
// frame goes next. Its checks of messages are off, since they refuse what must be accepted;
// Http2BlockCheck has taken their place. A header block is encoded when its frame is made, and
// until then its fields are kept by the record, which nghttp2 is told not to copy.
#pragma once

#include <nghttp2/nghttp2.h>

#include <optional>
#include <string>
#include <vector>

#include "base/list.h"
#include "wire/http2_arena.h"
#include "wire/http2_connection.h"
#include "wire/http2_message.h"
#include "wire/http2_output.h"

namespace berth::wire {

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

  void inform(Http2Stream& stream, const Http2Headers& headers);
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
  void tick() { unrest_ = 0; }
  size_t memory() const { return sizeof *this + arena_.bytes(); }

 private:
  // What the peer has sent of its message.
  enum class Input : uint8_t { nothing, body, ended, ignored };
  // How far nghttp2 is with ours: it has framed the headers in `body`, all in `ended`.
  enum class Output : uint8_t { nothing, headers_given, body, trailers_given, ended };

  struct Record : Http2Stream {
    ListLink<Record> link;
    Input input = Input::nothing;
    Output output = Output::nothing;
    bool announced = false;   // the driver knows of it
    bool peer_ended = false;  // it has said END_STREAM
    bool is_reset = false;    // nothing follows but its end
    bool reset_by_us = false;
    bool resets_at_end = false;  // the peer need not go on, once all is sent
    bool end_given = false;      // by the driver: with headers, with data or with trailers
    bool has_trailers = false;
    bool sends_data = false;     // nghttp2 has an item that asks for its data
    bool data_promised = false;  // to that item, and not framed yet
    bool data_ends = false;      // with what was promised
    bool no_body = false;        // client: whatever the response says of its length
    uint32_t informed = 0;       // informational responses that are not framed yet
    Http2BodyCheck body;
    uint32_t outstanding = 0;      // received, and not consumed
    uint32_t credit = 0;           // consumed, and nghttp2 has not been told
    uint64_t headers_sent_at = 0;  // the output's count behind them; 0: not framed
    Http2Queue queue;
    Http2Headers headers;
    Http2Headers trailers;
  };
  using Records = List<Record, &Record::link>;

  // broken: nghttp2 must not be called any more, and settle() ends all.
  enum class Stage { open, broken, over };

  struct Callbacks;  // nghttp2's, of which each calls one of on_*()

  // Where nghttp2 goes on, or does not.
  static constexpr int kGoOn = 0;
  static constexpr int kBreak = NGHTTP2_ERR_CALLBACK_FAILURE;

  // --- the connection (http2_state.cc) ---
  void submit_settings();
  void fail(uint32_t error, std::string why);
  void fail_of(ssize_t result);
  // What nghttp2 answers where only memory can be missing.
  void require(ssize_t result);
  void write_goaway(uint32_t error, std::string_view debug);
  void close_all(uint32_t error);
  void pump();
  void settle();
  // Counts a frame that asks for work and carries nothing.
  int count_unrest();

  // --- what comes (http2_receive.cc) ---
  int on_begin_frame(const nghttp2_frame_hd& head);
  int on_begin_headers(const nghttp2_frame& frame);
  int on_header(nghttp2_rcbuf* name, nghttp2_rcbuf* value, uint8_t flags);
  int on_data(int32_t id, std::string_view bytes);
  int on_frame(const nghttp2_frame& frame);
  int on_closed(int32_t id, uint32_t error);
  int on_headers_done(const nghttp2_frame& frame);
  void take_headers(Record& record, bool end);
  void take_data(Record& record, std::string_view bytes, bool end);
  void refuse_too_large(Record& record);
  void on_goaway(const nghttp2_goaway& goaway);
  void on_pong(const uint8_t* payload);
  Record* find(int32_t id);
  Record* make_record(int32_t id);
  void announce_closed(Record& record, uint32_t error);
  void free_record(Record& record);

  // --- what goes (http2_send.cc) ---
  static bool is_live(const Record& record);
  bool is_unseen(const Record& record, uint32_t error) const;
  std::span<const nghttp2_nv> pairs_of(const Http2Headers& headers, uint8_t flags);
  // Gives nghttp2 what may go next of that stream.
  void pursue(Record& record);
  void reset_record(Record& record, uint32_t error);
  void credit_connection(size_t bytes);
  ssize_t on_read(Record& record, size_t length, uint32_t& flags);
  int on_send_data(Record& record, const uint8_t* head, size_t length);
  int on_sent(const nghttp2_frame& frame);
  int on_not_sent(const nghttp2_frame& frame, int error);
  void on_headers_sent(Record& record, bool end);
  void on_end_sent(Record& record);

  const Role role_;
  const Settings settings_;
  Events& events_;
  Http2Arena& arena_;
  nghttp2_session* session_ = nullptr;
  Stage stage_ = Stage::open;
  Records records_;
  Http2Output output_;
  Record* last_ = nullptr;  // that find() found
  std::string why_;

  // The frame that is coming.
  nghttp2_frame_hd head_{};
  size_t data_left_ = 0;      // of a DATA frame without padding
  size_t continuations_ = 0;  // of a header block
  Record* incoming_ = nullptr;
  std::optional<Http2BlockCheck> block_;
  Http2Headers fields_;
  size_t field_bytes_ = 0;
  const char* malformed_ = nullptr;

  size_t connection_credit_ = 0;
  uint32_t unrest_ = 0;
  bool is_closing_ = false;
  // What the connection ends with, and whether nghttp2 has written the GOAWAY.
  uint32_t error_ = kHttp2NoError;
  bool said_goaway_ = false;
  std::string goaway_why_;
  bool close_wanted_ = false;
  std::string debug_;
  std::vector<nghttp2_nv> pairs_;
};

}  // namespace berth::wire
