#include "broker/session.h"

#include <absl/container/inlined_vector.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "broker/words.h"
#include "net/pass_fd.h"
#include "net/process.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// A longer wait is as good as none, and keeps time arithmetic far from overflow.
constexpr uint64_t kLongestTimeoutMs = uint64_t{365} * 24 * 3600 * 1000;

std::string in_use_text(uint64_t request_id) {
  return fmt::format("request id {} is in use", request_id);
}

}  // namespace

Session::Session(loop::Loop& loop, uint64_t number, UniqueFd fd, net::PeerIdentity peer,
                 pool::SessionInfo info, SessionHost& host)
    : host_(host),
      number_(number),
      fd_(std::move(fd)),
      peer_(std::move(peer)),
      info_(std::move(info)),
      watch_(loop, fd_.get(), [this](loop::Ready r) { ready(r); }) {
  watch();
}

Session::~Session() {
  if (greeted()) host_.driver().end_session(id_);
  for (const auto& [id, answered] : elsewhere_) {
    answered(absl::AbortedError("the session has ended"));
  }
}

void Session::note(std::string_view what) const {
  if (log().should_log(spdlog::level::debug)) log().debug("{}: {}", who(), what);
}

std::string Session::who() const {
  return fmt::format("session of pid {} {} (uid {})", peer_.pid, net::command_of(peer_.pid),
                     peer_.uid);
}

void Session::end(std::string_view why) {
  if (std::exchange(over_, true)) return;
  note(why);
  watch_.watch({});
  host_.ended(*this);
}

void Session::say_goodbye(Code code, std::string message) {
  if (over_) return;
  log().info("{}: goodbye: {}: {}", who(), code_name(code), message);
  std::string& frame = host_.encode_buffer();
  wire::encode(wire::Goodbye{code, message.substr(0, kMaxMessageBytes)}, frame);
  net::send_last_frame(fd_.get(), frame);
  end("goodbye");
}

// --- frames in ---

void Session::ready(loop::Ready ready) {
  if (ready.writable) flush();
  if (ready.readable) receive(kMaxFramesPerTurn);
}

void Session::opener_exited() {
  receive(kMaxFramesDrained);
  end("its opener has exited");
}

// Until nothing is there, or `enough` frames were read: a client that runs between two frames of
// its own has the next one ready, and the loop need not turn for it.
void Session::receive(size_t enough) {
  for (size_t count = 0; count < enough && !over_;) {
    host_.driver().new_moment();
    const std::span<const net::Received> frames = host_.frames().read(fd_.get());
    if (frames.empty()) break;
    count += frames.size();
    for (const net::Received& received : frames) {
      if (over_) break;
      handle(received);
    }
  }
  host_.driver().new_moment();
}

void Session::handle(const net::Received& received) {
  switch (received.kind) {
    case net::Received::frame: handle(received.bytes); break;
    case net::Received::closed: end("closed by the client"); break;
    case net::Received::too_large:
      say_goodbye(Code::kInvalid, fmt::format("a frame of {} bytes; a frame has at most {}",
                                              received.size, kMaxFrameBytes));
      break;
    case net::Received::has_fds:
      say_goodbye(Code::kInvalid, "a frame with file descriptors; clients send none");
      break;
  }
}

void Session::handle(std::string_view bytes) {
  auto decoded = wire::decode_client_frame(bytes);
  if (const auto* wrong = std::get_if<wire::DecodeError>(&decoded)) {
    return say_goodbye(Code::kInvalid, wrong->message);
  }
  const auto& frame = std::get<wire::ClientFrame>(decoded);
  if (!greeted() && !std::holds_alternative<wire::Hello>(frame)) {
    return say_goodbye(Code::kInvalid, "the first frame must be Hello");
  }
  std::visit([this](const auto& kind) { on(kind); }, frame);
}

void Session::on(const wire::Hello& hello) {
  if (greeted()) return say_goodbye(Code::kInvalid, "a second Hello");
  if (hello.version == 0) {
    return say_goodbye(Code::kVersion,
                       fmt::format("version 0; berthd speaks 1 to {}", wire::kSessionVersion));
  }
  name_ = hello.name;
  id_ = host_.driver().open_session(info_, *this);
  host_.greeted(*this);
  note("says hello as \"" + hello.name + "\"");
  send(wire::Welcome{std::min(hello.version, wire::kSessionVersion),
                     id_.value(),
                     std::string(token_.begin(), token_.end()),
                     {kMaxFrameBytes, kMaxBatch, kMaxLeasesPerSession, kMaxWaitersPerSession}});
}

void Session::on(const wire::LeaseRequest& request) {
  if (in_use(request.request_id)) {
    return say_goodbye(Code::kInvalid, in_use_text(request.request_id));
  }
  ask_for(request);
}

Session::Outbox::iterator Session::unsent_grant(uint64_t request_id) {
  return std::find_if(outbox_.begin(), outbox_.end(), [&](const Outgoing& outgoing) {
    const auto* grant = std::get_if<pool::Grant>(&outgoing);
    return grant != nullptr && grant->ticket.request_id == request_id;
  });
}

bool Session::in_use(uint64_t request_id) {
  return host_.driver().depot().waits(id_, request_id) || unsent_grant(request_id) != outbox_.end();
}

void Session::ask_for(const wire::LeaseRequest& request) {
  asked_for_ = request.key;
  pass_on(request);
  asked_for_ = {};
}

void Session::pass_on(const wire::LeaseRequest& request) {
  const uint64_t id = request.request_id;
  PoolDriver& driver = host_.driver();
  if (request.count > kMaxBatch) {
    const std::string text = fmt::format("count is {}; at most {}", request.count, kMaxBatch);
    return refused(id, {Code::kInvalid, text, {}, {}});
  }
  auto found = host_.keys().find(id_, request.key);
  if (auto* refusal = std::get_if<pool::Refusal>(&found)) return refused(id, *refusal);
  const PoolId pool = std::get<PoolId>(found);
  const Duration timeout =
      request.timeout_ms
          ? std::chrono::milliseconds(std::min(*request.timeout_ms, kLongestTimeoutMs))
          : driver.depot().pool(pool).policy().acquire_timeout;
  if (!request.traceparent.empty()) {
    note(fmt::format("request {} of {}: traceparent {}", id, request.key, request.traceparent));
  }
  driver.request(id_, pool, {id, request.count, timeout, request.detach});
}

void Session::on(const wire::Release& frame) {
  const bool known = release(frame);
  if (frame.request_id == 0) return;
  send(wire::Released{frame.request_id, known ? Code::kOk : Code::kNoSuchLease,
                      known ? "" : no_such_lease_text(frame.lease_id)});
}

void Session::on(const wire::Cancel& cancel) {
  host_.driver().cancel(id_, cancel.request_id);
}

void Session::on(const wire::ListKeys& list) {
  send(list_keys(list));
}

wire::KeyList Session::list_keys(const wire::ListKeys& list) const {
  wire::KeyList answer{list.request_id, {}, false};
  const std::vector<std::string_view> keys = host_.driver().depot().keys(id_);
  size_t bytes = 0;
  for (auto at = std::upper_bound(keys.begin(), keys.end(), list.after); at != keys.end(); ++at) {
    bytes += at->size();
    answer.more = answer.keys.size() == kMaxKeysPerFrame || bytes > kMaxFrameBytes / 2;
    if (answer.more) break;
    answer.keys.emplace_back(*at);
  }
  return answer;
}

// --- by another way than frames ---

void Session::lease(const wire::LeaseRequest& request, Answered answered) {
  const uint64_t id = request.request_id;
  if (in_use(id)) return answered(wire::Refusal{id, Code::kInvalid, in_use_text(id), {}});
  elsewhere_[id] = std::move(answered);
  ask_for(request);
}

void Session::withdraw(uint64_t request_id) {
  PoolDriver& driver = host_.driver();
  if (driver.depot().waits(id_, request_id)) return driver.cancel(id_, request_id);
  const auto unsent = unsent_grant(request_id);
  BERTH_CHECK(unsent != outbox_.end(), "what is not answered waits for a connection or to be sent");
  const auto grant = std::get<pool::Grant>(std::move(*unsent));
  outbox_.erase(unsent);
  // Nobody has touched them.
  for (const pool::Granted& granted : grant.leases) {
    driver.release(id_, granted.lease, Outcome::kReuse);
  }
  refused(request_id, {Code::kCancelled, "", {}, {}});
}

bool Session::release(const wire::Release& release) {
  return host_.driver().release(id_, LeaseId::from_value(release.lease_id), release.outcome);
}

bool Session::answer_elsewhere(uint64_t request_id, wire::ServerFrame frame) {
  const auto at = elsewhere_.find(request_id);
  if (at == elsewhere_.end()) return false;
  const Answered answered = std::move(at->second);
  elsewhere_.erase(at);
  answered(std::move(frame));
  return true;
}

// --- frames out ---

bool Session::take(const pool::Grant& grant, std::span<const int> fds) {
  if (over_) return false;
  if (!outbox_.empty() && !resending_) {
    wait(grant, flow_);
    return false;
  }
  absl::InlinedVector<wire::GrantedLease, 4> leases;
  for (const pool::Granted& granted : grant.leases) {
    leases.push_back({granted.lease.value(), !granted.fresh, granted.slot && !grant.carried,
                      grant.ticket.detach});
  }
  std::string& bytes = host_.encode_buffer();
  wire::encode_grant(grant.ticket.request_id, leases, bytes);
  switch (net::send_frame(fd_.get(), bytes, fds)) {
    case net::Sent::sent:
      if (!elsewhere_.empty()) {
        answer_elsewhere(grant.ticket.request_id,
                         wire::Grant{grant.ticket.request_id, {leases.begin(), leases.end()}});
      }
      return true;
    case net::Sent::too_many_refs: wait(grant, Flow::deferred); return false;
    case net::Sent::would_block: wait(grant, Flow::blocked); return false;
    case net::Sent::gone: end("it takes no more frames"); return false;
  }
  return false;
}

void Session::refused(uint64_t request_id, const pool::Refusal& refusal) {
  if (refusal.code == Code::kNotPermitted) host_.denied(info_, asked_for_, refusal.text);
  const wire::Refusal frame = explain(request_id, refusal, peer_.uid);
  note(fmt::format("refused: {}: {}", code_name(frame.code), frame.message));
  if (!answer_elsewhere(request_id, frame)) send(frame);
}

void Session::revoked(LeaseId lease, pool::Revoke::Cause cause) {
  send(wire::Revoked{lease.value(), Code::kRevoked, explain(cause)});
}

void Session::send(const wire::ServerFrame& frame) {
  if (over_) return;
  std::string& bytes = host_.encode_buffer();
  wire::encode(frame, bytes);
  if (!outbox_.empty() && !resending_) return wait(bytes, flow_);
  transmit(bytes);
}

void Session::transmit(const std::string& frame) {
  switch (net::send_frame(fd_.get(), frame, {})) {
    case net::Sent::sent: return;
    case net::Sent::too_many_refs: return wait(frame, Flow::deferred);
    case net::Sent::would_block: return wait(frame, Flow::blocked);
    case net::Sent::gone: return end("it takes no more frames");
  }
}

void Session::wait(Outgoing outgoing, Flow flow) {
  if (resending_) {
    outbox_.push_front(std::move(outgoing));
  } else {
    outbox_.push_back(std::move(outgoing));
  }
  if (outbox_.size() > kMaxOutboxFrames) {
    return end(fmt::format("it does not read: {} frames wait for it", outbox_.size()));
  }
  if (flow == Flow::deferred && flow_ != flow) host_.flush_later(*this);
  flow_ = flow;
  watch();
}

void Session::flush() {
  flow_ = Flow::open;
  while (!outbox_.empty() && flow_ == Flow::open && !over_) {
    const Outgoing next = std::move(outbox_.front());
    outbox_.pop_front();
    resending_ = true;
    if (const auto* grant = std::get_if<pool::Grant>(&next)) {
      host_.driver().hand_over(*grant);
    } else {
      transmit(std::get<std::string>(next));
    }
    resending_ = false;
  }
  watch();
}

void Session::watch() {
  if (!over_) watch_.watch({true, flow_ == Flow::blocked});
}

}  // namespace berth::broker
