// The C ABI: arguments checked, failures turned into negative errno values, no exception let out.
#include <cstring>
#include <new>
#include <variant>

#include "base/utf8.h"
#include "berth/berth.h"
#include "failure.h"
#include "fallback.h"
#include "session.h"

using berth::client::Clock;
using berth::client::Deadline;
using berth::client::Event;
using berth::client::Failure;
using berth::client::Fallback;
using berth::client::invalid;
using berth::client::report;
using berth::client::Session;
namespace wire = berth::wire;

namespace {

Session& self(berth_session* session) {
  return *reinterpret_cast<Session*>(session);
}
const Session& self(const berth_session* session) {
  return *reinterpret_cast<const Session*>(session);
}

int finish(const std::optional<Failure>& failure) {
  return failure ? report(*failure) : 0;
}

// Runs one call; std::bad_alloc is all that can be thrown here.
template <class Call>
int guarded(Call&& call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return berth::client::report_out_of_memory();
  }
}

template <class... Pointers>
bool any_null(Pointers... pointers) {
  return ((pointers == nullptr) || ...);
}

int null_argument() {
  return report(invalid("an argument is NULL that must not be"));
}

std::variant<berth_options, Failure> read_options(const berth_options* given) {
  berth_options options = BERTH_OPTIONS_INIT;
  if (given == nullptr) return options;
  // A later library may know more members; an earlier one must not ignore what it does not know.
  if (given->size < sizeof given->size || given->size > sizeof options) {
    return invalid("berth_options.size is " + std::to_string(given->size) +
                   "; set it with BERTH_OPTIONS_INIT");
  }
  std::memcpy(&options, given, given->size);
  if (options.timeout_ms < -1) return invalid("timeout_ms is below -1");
  if (options.detach > 1) return invalid("detach is neither 0 nor 1");
  return options;
}

std::optional<Failure> check_text(const char* what, std::string_view text, size_t limit) {
  if (text.size() > limit) {
    return invalid(std::string(what) + " has " + std::to_string(text.size()) + " bytes; at most " +
                   std::to_string(limit) + " are allowed");
  }
  if (!berth::is_utf8(text)) return invalid(std::string(what) + " is not UTF-8");
  return std::nullopt;
}

struct Wish {
  wire::LeaseRequest request;
  std::optional<Fallback> fallback;
};

// What would end the session as a malformed frame is refused here instead.
std::variant<Wish, Failure> make_wish(const char* key, unsigned n, const berth_options* given) {
  auto read = read_options(given);
  if (auto* failure = std::get_if<Failure>(&read)) return std::move(*failure);
  const auto& options = std::get<berth_options>(read);
  if (*key == '\0') return invalid("the key is empty");
  if (n < 1 || n > BERTH_MAX_COUNT) {
    return invalid("a request is for 1 to 64 connections, not " + std::to_string(n));
  }
  Wish wish;
  wire::LeaseRequest& request = wish.request;
  request.key = key;
  request.count = n;
  if (options.timeout_ms >= 0) request.timeout_ms = static_cast<uint64_t>(options.timeout_ms);
  if (options.traceparent != nullptr) request.traceparent = options.traceparent;
  request.detach = options.detach != 0;
  if (auto wrong = check_text("the key", request.key, berth::kMaxUrlKeyBytes)) return *wrong;
  if (auto wrong = check_text("traceparent", request.traceparent, berth::kMaxTraceparentBytes)) {
    return *wrong;
  }
  if (options.fallback == nullptr) return wish;
  auto server = berth::client::read_fallback(options.fallback);
  if (auto* failure = std::get_if<Failure>(&server)) return std::move(*failure);
  wish.fallback = Fallback{std::move(std::get<berth::Endpoint>(server)), request.timeout_ms, n,
                           request.detach ? 0 : BERTH_FALLBACK};
  return wish;
}

std::optional<Failure> ask(berth_session* session, wire::LeaseRequest request, berth_grant* out) {
  if (session != nullptr) return self(session).lease(std::move(request), out);
  return berth::client::failed(ECONNREFUSED, "there is no session with berthd");
}

// The lease, or a connection in place of it; its reason stays the thread's last error, for the log.
int lease_or_dial(berth_session* session, wire::LeaseRequest request, const Fallback& fallback,
                  berth_grant* out) {
  const Deadline start = Clock::now();
  std::optional<Failure> absence = ask(session, std::move(request), out);
  if (!absence || !berth::client::is_absence(*absence)) return finish(absence);
  if (auto failure = berth::client::dial_instead(fallback, start, out)) {
    failure->words += "; it was dialled because berthd is absent: " + absence->words;
    return report(*failure);
  }
  absence->words += "; " + fallback.server.url() + " was dialled instead";
  report(*absence);
  return 0;
}

std::variant<wire::Outcome, Failure> read_outcome(berth_outcome outcome) {
  if (outcome == BERTH_REUSE) return wire::Outcome::kReuse;
  if (outcome == BERTH_DISCARD) return wire::Outcome::kDiscard;
  return invalid("the outcome is neither BERTH_REUSE nor BERTH_DISCARD");
}

int give_id(const std::variant<uint64_t, Failure>& result, uint64_t* request_id) {
  if (const auto* failure = std::get_if<Failure>(&result)) return report(*failure);
  *request_id = std::get<uint64_t>(result);
  return 0;
}

void fill(Event& event, berth_event& out) {
  const size_t size = out.size;
  out = berth_event{};
  out.size = size;
  out.kind = event.kind;
  out.request_id = event.request_id;
  out.lease_id = event.lease_id;
  out.count = static_cast<unsigned>(event.leases.size());
  for (size_t i = 0; i < event.leases.size(); ++i) {
    const wire::GrantedLease& lease = event.leases[i];
    out.grants[i] = {berth::client::number_of(lease), event.fds[i].release(),
                     lease.reused ? 1u : 0u};
  }
  out.message = "";
  if (!event.failure) return;
  out.error = -event.failure->error;
  out.code = static_cast<berth_code>(event.failure->code);
  out.message = berth::client::keep_words(event.failure->words);
  out.why = berth::client::keep_why(event.failure->why);
}

}  // namespace

int berth_session_open(const char* path, berth_session** out) {
  return berth_session_open_named(path, nullptr, out);
}

int berth_session_open_named(const char* path, const char* name, berth_session** out) {
  if (out == nullptr) return null_argument();
  *out = nullptr;
  return guarded([&] {
    const std::string_view full = name != nullptr ? name : program_invocation_short_name;
    const size_t size = berth::utf8_prefix(full, berth::kMaxSessionNameBytes);
    auto opened = Session::open(path, full.substr(0, size));
    if (const auto* failure = std::get_if<Failure>(&opened)) return report(*failure);
    Session* session = std::get<std::unique_ptr<Session>>(opened).release();
    *out = reinterpret_cast<berth_session*>(session);
    return 0;
  });
}

void berth_session_close(berth_session* session) {
  if (session == nullptr) return;
  guarded([&] {
    Session::close(&self(session));
    return 0;
  });
}

uint64_t berth_session_id(const berth_session* session) {
  return session == nullptr ? 0 : self(session).id();
}

int berth_session_fd(const berth_session* session) {
  return session == nullptr ? null_argument() : self(session).fd();
}

int berth_lease(berth_session* session, const char* key, const berth_options* options,
                berth_grant* out) {
  return berth_lease_many(session, key, 1, options, out);
}

int berth_lease_many(berth_session* session, const char* key, unsigned n,
                     const berth_options* options, berth_grant out[]) {
  if (any_null(key, out)) return null_argument();
  return guarded([&] {
    auto made = make_wish(key, n, options);
    auto* wish = std::get_if<Wish>(&made);
    if (session == nullptr && wish != nullptr && !wish->fallback) return null_argument();
    for (unsigned i = 0; i < n && i < BERTH_MAX_COUNT; ++i) out[i] = {0, -1, 0};
    if (wish == nullptr) return report(std::get<Failure>(made));
    if (wish->fallback) {
      return lease_or_dial(session, std::move(wish->request), *wish->fallback, out);
    }
    return finish(self(session).lease(std::move(wish->request), out));
  });
}

int berth_release(berth_session* session, berth_grant* grant, berth_outcome outcome) {
  if (grant == nullptr || (session == nullptr && grant->id != BERTH_FALLBACK)) {
    return null_argument();
  }
  return guarded([&] {
    const auto read = read_outcome(outcome);
    if (const auto* failure = std::get_if<Failure>(&read)) return report(*failure);
    if (grant->id == BERTH_FALLBACK) {
      berth::UniqueFd closes(grant->fd);
      *grant = {0, -1, 0};
      return 0;
    }
    return finish(self(session).release(*grant, std::get<wire::Outcome>(read)));
  });
}

int berth_keys(berth_session* session, int (*each)(const char* key, void* arg), void* arg) {
  if (session == nullptr || each == nullptr) return null_argument();
  return guarded([&] {
    int calls = 0;
    std::string after;
    for (;;) {
      auto page = self(session).keys(after);
      if (const auto* failure = std::get_if<Failure>(&page)) return report(*failure);
      auto& list = std::get<wire::KeyList>(page);
      for (const std::string& key : list.keys) {
        ++calls;
        if (each(key.c_str(), arg) != 0) return calls;
      }
      if (!list.more || list.keys.empty()) return calls;
      after = std::move(list.keys.back());
    }
  });
}

int berth_submit(berth_session* session, const char* key, unsigned n, const berth_options* options,
                 uint64_t* request_id) {
  if (any_null(session, key, request_id)) return null_argument();
  return guarded([&] {
    auto wish = make_wish(key, n, options);
    if (const auto* failure = std::get_if<Failure>(&wish)) return report(*failure);
    auto& [request, fallback] = std::get<Wish>(wish);
    if (fallback) return report(invalid("a fallback waits; use it with berth_lease()"));
    return give_id(self(session).submit(std::move(request)), request_id);
  });
}

int berth_submit_release(berth_session* session, berth_grant* grant, berth_outcome outcome,
                         uint64_t* request_id) {
  if (any_null(session, grant, request_id)) return null_argument();
  return guarded([&] {
    const auto read = read_outcome(outcome);
    if (const auto* failure = std::get_if<Failure>(&read)) return report(*failure);
    if (grant->id == BERTH_FALLBACK) {
      return report(invalid("berthd knows nothing of a fallback; use berth_release()"));
    }
    return give_id(self(session).submit_release(*grant, std::get<wire::Outcome>(read)), request_id);
  });
}

int berth_cancel(berth_session* session, uint64_t request_id) {
  if (session == nullptr) return null_argument();
  return guarded([&] { return finish(self(session).cancel(request_id)); });
}

int berth_next_event(berth_session* session, berth_event* out) {
  if (any_null(session, out)) return null_argument();
  return guarded([&] {
    if (out->size < sizeof *out) {
      return report(invalid("berth_event.size is " + std::to_string(out->size) +
                            "; set it to sizeof(berth_event)"));
    }
    auto next = self(session).next_event();
    if (const auto* failure = std::get_if<Failure>(&next)) return report(*failure);
    auto& event = std::get<std::optional<Event>>(next);
    if (!event) return 0;
    fill(*event, *out);
    return 1;
  });
}

uint64_t berth_fallbacks(void) {
  return berth::client::fallbacks();
}

int berth_absent(void) {
  return berth::client::last_is_absence() ? 1 : 0;
}

const char* berth_error(void) {
  return berth::client::last_words();
}

const berth_why* berth_error_why(void) {
  return berth::client::last_why();
}

berth_code berth_error_code(void) {
  return static_cast<berth_code>(berth::client::last_code());
}
