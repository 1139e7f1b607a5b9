// Watchers: those who follow what happens in the pools, over berth.v1.Admin.WatchEvents.
//
// A watch is one stream. Events wait for it in a bounded queue; those that find it full are
// counted, and the next one that fits tells how many were missed. The loop only adds to queues;
// encoding and writing is for gRPC's threads and Answers'.
#pragma once

#include <absl/status/status.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "berth/v1/admin.pb.h"
#include "broker/broker.h"
#include "control/answers.h"
#include "control/view.h"

namespace berth::control {

v1::EventKind kind_of(pool::EventKind kind);

// One stream's queue. Any thread. What there is to write is written by one thread at a time, the
// one that has found `idle` and set `writing`.
class Watch {
 public:
  // What a stream can do, one at a time, each answered by sent(). Lives until it was finished.
  class Sink {
   public:
    virtual void send_start() = 0;
    virtual void send(const v1::Event& event) = 0;
    virtual void finish(const absl::Status& status) = 0;

   protected:
    ~Sink() = default;
  };

  Watch(v1::WatchRequest request, Sink& sink, Answers& answers)
      : request_(std::move(request)), sink_(sink), answers_(answers) {}

  const v1::WatchRequest& request() const { return request_; }
  bool wants(const v1::Event& event) const {
    return request_.key().empty() || request_.key() == event.key();
  }

  // --- the loop ---
  // Begins the stream, so that its client knows that it misses nothing from now on.
  void begin();
  void add(std::shared_ptr<const v1::Event> event);
  // After what is queued.
  void end(absl::Status status);
  bool over() const;

  // --- the stream ---
  // The last send has ended. Nobody is there any more if it was not `ok`.
  void sent(bool ok);
  void cancelled();

 private:
  struct Entry {
    std::shared_ptr<const v1::Event> event;
    uint64_t missed;
  };
  enum class Turn { idle, writing, finished };

  // Requires the lock. Has somebody write, unless somebody does.
  void wake();
  void write_next();

  const v1::WatchRequest request_;
  Sink& sink_;
  Answers& answers_;
  mutable std::mutex mutex_;  // guards the rest
  std::deque<Entry> queue_;
  uint64_t missed_ = 0;  // since the last in the queue
  bool start_ = false;   // is to be sent
  bool gone_ = false;    // the client
  std::optional<absl::Status> end_;
  Turn turn_ = Turn::idle;
  v1::Event current_;  // being written
};

// Loop thread only.
class Watchers {
 public:
  // Borrows broker and view.
  Watchers(broker::Broker& broker, const View& view);
  ~Watchers();

  void add(const std::shared_ptr<Watch>& watch);
  size_t count() const;
  // The daemon ends.
  void end_all();

 private:
  void tell(const pool::Event& event);
  void remind(Watch& watch) const;
  v1::Event describe(const pool::Event& event) const;

  broker::Broker& broker_;
  const View& view_;
  std::deque<std::shared_ptr<const v1::Event>> recent_;
  std::vector<std::shared_ptr<Watch>> watches_;
};

}  // namespace berth::control
