#include "control/admin.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "net/process.h"

namespace berth::control {
namespace {

// Names for people, from /proc: on no thread that anybody waits for.
template <class Rows>
void name_commands(Rows& rows) {
  for (auto& row : rows) {
    if (row.pid() != 0) row.set_command(net::command_of(static_cast<int32_t>(row.pid())));
  }
}

template <class Reply>
void name_commands_in(Reply&) {}
template <>
void name_commands_in(v1::ListLeasesReply& reply) {
  name_commands(*reply.mutable_leases());
}
template <>
void name_commands_in(v1::ListSessionsReply& reply) {
  name_commands(*reply.mutable_sessions());
}
template <>
void name_commands_in(v1::ListWaitersReply& reply) {
  name_commands(*reply.mutable_waiters());
}

}  // namespace

AdminService::AdminService(loop::Mailbox& mailbox, const Peers& peers, const View& view,
                           Orders& orders, Watchers& watchers, Answers& answers)
    : calls_(mailbox, peers, kMaxControlCalls, kMaxControlCalls),
      late_(mailbox, peers, kMaxLateOrders, kMaxLateOrders),
      peers_(peers),
      view_(view),
      orders_(orders),
      watchers_(watchers),
      answers_(answers) {}

absl::StatusOr<Peer> AdminService::administrator(const Context& context) const {
  absl::StatusOr<Peer> peer = calls_.peer_of(context);
  if (!peer.ok() || peers_.is_admin(peer->uid)) return peer;
  return absl::PermissionDeniedError(
      fmt::format("uid {} is no administrator of this berthd; root, uid {} as which it runs, "
                  "and the users in `admins` in the table [daemon] of its berthd.toml are",
                  peer->uid, geteuid()));
}

// `context` and `reply` stay until Finish(), and so does the request.
template <class Reply, class Handle>
AdminService::Reactor* AdminService::answer(Calls& calls, Context* context, Reply* reply,
                                            Handle handle) {
  Reactor* reactor = context->DefaultReactor();
  const absl::StatusOr<Peer> peer = administrator(*context);
  absl::Status status = peer.status();
  if (status.ok()) {
    const uint32_t uid = peer->uid;
    status = calls.begin(uid, [=, this, &calls] {
      const Done done = [=, this, &calls](const absl::Status& shown) {
        answers_.add([=, &calls] {
          name_commands_in(*reply);
          calls.end(uid);
          reactor->Finish(status_of(shown));
        });
      };
      // Who has given up meanwhile costs the loop nothing.
      if (context->IsCancelled()) return done(absl::CancelledError());
      handle(done);
    });
  }
  if (!status.ok()) reactor->Finish(status_of(status));
  return reactor;
}

template <class Request, class Reply>
AdminService::Reactor* AdminService::show(Context* context, const Request* request, Reply* reply) {
  return answer(calls_, context, reply,
                [=, this](const Done& done) { done(view_.show(*request, *reply)); });
}

template <class Request, class Reply>
AdminService::Reactor* AdminService::carry_out(Context* context, const Request* request,
                                               Reply* reply) {
  return answer(calls_, context, reply,
                [=, this](const Done& done) { orders_.carry_out(*request, *reply, done); });
}

template <class Request, class Reply>
AdminService::Reactor* AdminService::carry_out_late(Context* context, const Request* request,
                                                    Reply* reply) {
  return answer(late_, context, reply, [=, this](const Done& done) {
    orders_.carry_out(*request, *reply,
                      Orderer{done, [context] { return context->IsCancelled(); }});
  });
}

AdminService::Reactor* AdminService::Explain(Context* context, const v1::ExplainRequest* request,
                                             v1::ExplainReply* reply) {
  const std::optional<Peer> caller = peers_.find(context->peer());
  pool::SessionInfo who;
  who.uid = request->has_uid() || !caller ? request->uid() : caller->uid;
  if (administrator(*context).ok()) {
    who.groups = net::groups_of(who.uid);
    if (!who.groups.empty()) who.gid = who.groups.front();
    std::sort(who.groups.begin(), who.groups.end());
  }
  return answer(calls_, context, reply,
                [=, this](const Done& done) { done(view_.show(*request, who, *reply)); });
}

// --- streams ---

namespace {

// A stream of events. Owns itself until OnDone().
class EventStream final : public AdminService::EventReactor, public Watch::Sink {
 public:
  EventStream(const v1::WatchRequest& request, Answers& answers,
              std::shared_ptr<std::atomic<size_t>> streams)
      : watch_(std::make_shared<Watch>(request, *this, answers)), streams_(std::move(streams)) {
    ++*streams_;
  }

  const std::shared_ptr<Watch>& watch() const { return watch_; }

  void send_start() override { StartSendInitialMetadata(); }
  void send(const v1::Event& event) override { StartWrite(&event); }
  void finish(const absl::Status& status) override { Finish(status_of(status)); }

 private:
  ~EventStream() { --*streams_; }

  void OnSendInitialMetadataDone(bool ok) override { watch_->sent(ok); }
  void OnWriteDone(bool ok) override { watch_->sent(ok); }
  void OnCancel() override { watch_->cancelled(); }
  void OnDone() override { delete this; }

  const std::shared_ptr<Watch> watch_;
  const std::shared_ptr<std::atomic<size_t>> streams_;
};

}  // namespace

AdminService::EventReactor* AdminService::WatchEvents(Context* context,
                                                      const v1::WatchRequest* request) {
  auto* stream = new EventStream(*request, answers_, watches_);
  const absl::StatusOr<Peer> peer = administrator(*context);
  absl::Status status = peer.status();
  if (status.ok() && *watches_ > kMaxWatches) {
    status = absl::ResourceExhaustedError(
        fmt::format("{} programs watch already; try again later", kMaxWatches));
  }
  if (status.ok()) {
    const uint32_t uid = peer->uid;
    status = calls_.begin(uid, [=, this, watch = stream->watch()] {
      calls_.end(uid);
      watchers_.add(watch);
    });
  }
  if (!status.ok()) stream->watch()->end(status);
  return stream;
}

}  // namespace berth::control
