// Session's reading side: one reader for all callers, and what each frame does.
#include <sys/socket.h>

#include <algorithm>
#include <new>

#include "session.h"

namespace berth::client {
namespace {

constexpr auto kSendGrace = std::chrono::seconds(1);
constexpr const char* kNoRoom =
    "this process has too few free descriptors for the grant (see ulimit -n); it went back "
    "untouched";
constexpr const char* kNoRoomForGood =
    "this process has too few free descriptors for the connections (see ulimit -n); they are "
    "closed";
constexpr const char* kKeepsAll =
    "this berthd is too old for detached leases; what it granted went back untouched";

// Each comes with a descriptor; a bare slot does not.
size_t connections_in(const wire::Grant& grant) {
  return static_cast<size_t>(
      std::count_if(grant.leases.begin(), grant.leases.end(),
                    [](const wire::GrantedLease& lease) { return !lease.slot; }));
}

bool is_detached(const wire::Grant& grant) {
  return std::all_of(grant.leases.begin(), grant.leases.end(),
                     [](const wire::GrantedLease& lease) { return lease.detached; });
}

}  // namespace

// True once `call` is answered; false if the deadline passed first.
bool Session::await(Lock& lock, Call& call, Deadline deadline) {
  waiting_.push_back(call);
  while (!call.answered && (deadline == kNoDeadline || Clock::now() < deadline)) {
    if (!reading_) {
      read_once(lock, deadline);
    } else if (deadline == kNoDeadline) {
      call.wake.wait(lock);
    } else {
      call.wake.wait_until(lock, deadline);
    }
  }
  waiting_.remove(call);
  pass_on_reading();
  return call.answered;
}

// Whoever stops reading wakes another caller to take it over.
void Session::pass_on_reading() {
  if (!reading_ && !waiting_.empty()) waiting_.front()->wake.notify_one();
}

Arrival Session::read_once(Lock& lock, Deadline deadline) {
  reading_ = true;
  lock.unlock();
  const Arrival arrival = receive(fd(), deadline, packet_);
  lock.lock();
  reading_ = false;
  try {
    accept(arrival);
    send_untouched(lock);
  } catch (const std::bad_alloc&) {
    // An answer may be lost, and whoever waits for it would wait for ever.
    if (!lock.owns_lock()) lock.lock();
    end({ENOMEM, Code::kQueueFull, "out of memory"});  // short enough to need none
  }
  return arrival;
}

void Session::accept(Arrival arrival) {
  if (ended_ || arrival == Arrival::nothing) return;
  if (arrival == Arrival::end) return end(failed(ECONNRESET, "berthd is gone without a word"));
  if (packet_.oversized) return end_as_nonsense("a frame that is too long");
  auto decoded = wire::decode_server_frame(packet_.text());
  if (const auto* error = std::get_if<wire::DecodeError>(&decoded)) {
    return end_as_nonsense(error->message);
  }
  auto& frame = std::get<wire::ServerFrame>(decoded);
  const bool may_have_fds = std::holds_alternative<wire::Grant>(frame);
  if (packet_.fd_count > 0 && !may_have_fds) return end_as_nonsense("descriptors without a grant");
  std::visit([this](auto& message) { on(message); }, frame);
}

void Session::on(const wire::Welcome&) {
  end_as_nonsense("a second welcome");
}

void Session::on(const wire::Goodbye& goodbye) {
  const Code code = goodbye.code == Code::kOk ? Code::kShuttingDown : goodbye.code;
  const std::string& why = goodbye.message.empty() ? code_name(code) : goodbye.message;
  end({ECONNRESET, code, "berthd ended the session: " + why});
}

void Session::on(const wire::Grant& grant) {
  const Request* request = find_request(grant.request_id);
  if (request == nullptr) return return_untouched(grant);
  if (request->count != grant.leases.size()) {
    return end_as_nonsense("a grant of another size than was asked for");
  }
  const bool detached = is_detached(grant);
  if (packet_.fds_lost) {
    return_untouched(grant);
    return fail(grant.request_id, take_request(grant.request_id),
                failed(EMFILE, detached ? kNoRoomForGood : kNoRoom));
  }
  if (packet_.fd_count != connections_in(grant)) {
    return end_as_nonsense("a grant without its descriptors");
  }
  if (detached && !request->detach) return end_as_nonsense("a detached grant unasked");
  if (request->detach && !detached) {
    return_untouched(grant);
    return fail(grant.request_id, take_request(grant.request_id),
                refused(Code::kVersion, kKeepsAll));
  }
  if (!detached) {
    for (const wire::GrantedLease& lease : grant.leases) leases_[lease.lease_id] = Lease{};
  }
  deliver(grant, take_request(grant.request_id));
}

void Session::deliver(const wire::Grant& grant, Request request) {
  size_t next = 0;
  const auto take_fd = [&](const wire::GrantedLease& lease) {
    return lease.slot ? UniqueFd() : std::move(packet_.fds[next++]);
  };
  if (request.form == Form::waited) {
    berth_grant* out = request.call->grants;
    for (const wire::GrantedLease& lease : grant.leases) {
      *out++ = {number_of(lease), take_fd(lease).release(), lease.reused ? 1u : 0u};
    }
    packet_.fd_count = 0;
    return answer(*request.call);
  }
  Event event;
  event.kind = BERTH_EVENT_GRANTED;
  event.request_id = grant.request_id;
  event.leases = grant.leases;
  for (const wire::GrantedLease& lease : grant.leases) event.fds.push_back(take_fd(lease));
  packet_.fd_count = 0;
  events_.push_back(std::move(event));
}

void Session::on(wire::Refusal& refusal) {
  fail(refusal.request_id, take_request(refusal.request_id),
       refused(refusal.code, std::move(refusal.message), std::move(refusal.why)));
}

void Session::on(wire::Released& released) {
  const Request* request = find_request(released.request_id);
  if (request == nullptr) return;
  if (request->form != Form::submitted_release) return end_as_nonsense("an answer to no release");
  take_request(released.request_id);
  Event event;
  event.kind = BERTH_EVENT_RELEASED;
  event.request_id = released.request_id;
  if (released.code != Code::kOk) {
    event.failure = refused(released.code, std::move(released.message));
  }
  events_.push_back(std::move(event));
}

void Session::on(const wire::Revoked& revoked) {
  const auto it = leases_.find(revoked.lease_id);
  if (it == leases_.end() || it->second.revoked) return;  // our release crossed it
  const std::string& why = revoked.message.empty() ? code_name(revoked.code) : revoked.message;
  it->second.revoked = refused(revoked.code, "berthd took the lease away: " + why);
  if (polled_) events_.push_back(revoked_event(*it));
}

Event Session::revoked_event(const std::pair<const uint64_t, Lease>& entry) {
  Event event;
  event.kind = BERTH_EVENT_REVOKED;
  event.lease_id = entry.first;
  event.failure = entry.second.revoked;
  return event;
}

// From the first use of the non-waiting form on. What happened before it is made up for.
void Session::keep_events() {
  if (polled_) return;
  polled_ = true;
  for (const auto& entry : leases_) {
    if (entry.second.revoked) events_.push_back(revoked_event(entry));
  }
}

void Session::on(wire::KeyList& list) {
  const Request* request = find_request(list.request_id);
  if (request == nullptr) return;
  Call* call = request->call;
  const bool asked = call != nullptr && call->keys != nullptr;
  if (!asked) return end_as_nonsense("keys that nobody asked for");
  take_request(list.request_id);
  *call->keys = std::move(list);
  answer(*call);
}

// nullptr if nobody waits for it any more.
const Session::Request* Session::find_request(uint64_t id) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return nullptr;
  if (it->second.form != Form::abandoned) return &it->second;
  requests_.erase(it);
  return nullptr;
}

// An id that is not known counts as abandoned. To be followed by the request's answer: nothing else
// knows its caller any more.
Session::Request Session::take_request(uint64_t id) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return {};
  const Request request = it->second;
  requests_.erase(it);
  return request;
}

void Session::fail(uint64_t id, Request request, Failure failure) {
  switch (request.form) {
    case Form::abandoned: return;
    case Form::submitted:
    case Form::submitted_release: break;
    case Form::waited: {
      request.call->failure = std::move(failure);
      return answer(*request.call);
    }
  }
  Event event;
  event.kind = request.form == Form::submitted ? BERTH_EVENT_REFUSED : BERTH_EVENT_RELEASED;
  event.request_id = id;
  event.failure = std::move(failure);
  events_.push_back(std::move(event));
}

void Session::answer(Call& call) {
  call.answered = true;
  call.wake.notify_one();
}

// Nobody used these, so others may; but what is detached is only closed.
void Session::return_untouched(const wire::Grant& grant) {
  packet_.close_fds();
  if (is_detached(grant)) return;
  for (const wire::GrantedLease& lease : grant.leases) untouched_.push_back(lease.lease_id);
}

void Session::send_untouched(Lock& lock) {
  while (!untouched_.empty()) {
    std::string frame;
    wire::encode(wire::ClientFrame(wire::Release{untouched_.back(), wire::Outcome::kReuse, 0}),
                 frame);
    untouched_.pop_back();
    lock.unlock();
    send(fd(), frame, Clock::now() + kSendGrace);
    lock.lock();
  }
}

// Fails all that wait. Submitted requests get their events from next_event(). Allocates nothing if
// the words are short.
void Session::end(Failure failure) {
  if (ended_) return;
  ended_ = std::move(failure);
  std::erase_if(requests_, [this](const auto& entry) {
    const Request& request = entry.second;
    if (request.form == Form::waited) {
      request.call->failure = ended_;
      answer(*request.call);
    }
    return request.form == Form::waited || request.form == Form::abandoned;
  });
}

void Session::end_as_nonsense(std::string_view what) {
  packet_.close_fds();
  ::shutdown(fd(), SHUT_RDWR);
  end(failed(EPROTO, "berthd sent what makes no sense: " + std::string(what)));
}

}  // namespace berth::client
