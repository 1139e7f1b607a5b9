// libberth for C++17: sessions and leases that end by themselves. Header-only, over
// <berth/berth.h>, whose rules on errors, threads and fork hold here too. Nothing here throws but
// std::bad_alloc.
//
//     auto session = berth::Session::open();
//     if (!session) return complain(session.error().words);
//     auto lease = session->lease("redis", {250});  // waits 250 ms at most
//     if (!lease) return complain(lease.error().words);
//     ... talk on lease->fd() ...
//     lease->release();  // for reuse; without it the connection is discarded
#pragma once

#include <berth/berth.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace berth {

// As berth_why.
struct Why {
  struct Holder {
    uint32_t pid = 0;
    uint32_t uid = 0;
    uint64_t held_ms = 0;
    std::string command;
  };
  berth_cause cause = BERTH_CAUSE_UNSPECIFIED;
  unsigned leased = 0;
  unsigned max_connections = 0;
  unsigned waiting = 0;
  uint64_t dial_failures = 0;
  std::string last_dial_error;
  std::vector<Holder> holders;

  // Nothing for NULL.
  static std::optional<Why> copy_of(const berth_why* from) {
    if (from == nullptr) return std::nullopt;
    Why why{from->cause,
            from->leased,
            from->max_connections,
            from->waiting,
            from->dial_failures,
            from->last_dial_error,
            {}};
    for (unsigned i = 0; i < from->holder_count; ++i) {
      const berth_holder& holder = from->holders[i];
      why.holders.push_back({holder.pid, holder.uid, holder.held_ms, holder.command});
    }
    return why;
  }
};

struct Error {
  int error = 0;  // negative errno
  berth_code code = BERTH_OK;
  std::string words;
  std::optional<Why> why = {};  // what a refused request waited for, where berthd told

  // The calling thread's last error, for a call that returned `result`.
  static Error last(int result) {
    return {result, berth_error_code(), berth_error(), Why::copy_of(berth_error_why())};
  }
};

// A value, or why there is none. Look before asking: value() of an error is undefined.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& value() { return *std::get_if<0>(&state_); }
  const T& value() const { return *std::get_if<0>(&state_); }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

struct LeaseOptions {
  int64_t timeout_ms = -1;  // as berth_options.timeout_ms
  std::string traceparent = {};
  std::string fallback = {};  // as berth_options.fallback; empty: none
};

// One leased connection. Owns its descriptor; discards the connection unless release() was called.
// Must end before its session does.
class Lease {
 public:
  Lease(berth_session* session, berth_grant grant) : session_(session), grant_(grant) {}
  Lease(Lease&& other) noexcept : session_(other.session_), grant_(other.take()) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this == &other) return *this;
    discard();
    session_ = other.session_;
    grant_ = other.take();
    return *this;
  }
  ~Lease() { discard(); }

  int fd() const { return grant_.fd; }  // -1 once it was given back, and of a slot
  uint64_t id() const { return grant_.id; }
  bool reused() const { return grant_.reused != 0; }
  bool is_fallback() const { return grant_.id == BERTH_FALLBACK; }
  ssize_t read(void* buffer, size_t size) { return berth_read(grant_.fd, buffer, size); }

  // The exchange is finished and another may have the connection. 0 or as berth_release().
  int release() { return berth_release(session_, &grant_, BERTH_REUSE); }
  // The connection is broken or its state unknown. Does nothing after release().
  void discard() {
    if (grant_.id != 0) berth_release(session_, &grant_, BERTH_DISCARD);
  }

 private:
  berth_grant take() { return std::exchange(grant_, berth_grant{0, -1, 0}); }

  berth_session* session_;
  berth_grant grant_;
};

// A detached connection. Owns its descriptor, and closes it; needs no session.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this == &other) return *this;
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  // The caller's to close from now on.
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class Session {
 public:
  // As berth_session_open_named(); an empty path or name is its NULL.
  static Result<Session> open(const std::string& path = {}, const std::string& name = {}) {
    berth_session* session = nullptr;
    const int result = berth_session_open_named(or_null(path), or_null(name), &session);
    if (result < 0) return Error::last(result);
    return Session(session);
  }
  // The same, for programs that go on without berthd: where it is absent the session is one of
  // which only lease(), lease_many() and take() work, by their fallback.
  static Result<Session> open_if_there(const std::string& path = {}, const std::string& name = {}) {
    auto session = open(path, name);
    if (!session && berth_absent() != 0) return Session(nullptr);
    return session;
  }
  Session(Session&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  Session& operator=(Session&& other) noexcept {
    if (this == &other) return *this;
    berth_session_close(session_);
    session_ = std::exchange(other.session_, nullptr);
    return *this;
  }
  ~Session() { berth_session_close(session_); }

  Result<Lease> lease(const std::string& key, const LeaseOptions& options = {}) {
    berth_grant grant;
    const berth_options plain = c_options(options);
    const int result = berth_lease(session_, key.c_str(), &plain, &grant);
    if (result < 0) return Error::last(result);
    return Lease(session_, grant);
  }

  // All n or none.
  Result<std::vector<Lease>> lease_many(const std::string& key, unsigned n,
                                        const LeaseOptions& options = {}) {
    std::array<berth_grant, BERTH_MAX_COUNT> grants;
    std::vector<Lease> leases;
    leases.reserve(n <= BERTH_MAX_COUNT ? n : 0);
    const berth_options plain = c_options(options);
    const int result = berth_lease_many(session_, key.c_str(), n, &plain, grants.data());
    if (result < 0) return Error::last(result);
    for (unsigned i = 0; i < n; ++i) leases.emplace_back(session_, grants[i]);
    return leases;
  }

  // One connection for good, as with berth_options.detach.
  Result<Socket> take(const std::string& key, const LeaseOptions& options = {}) {
    berth_grant grant;
    berth_options plain = c_options(options);
    plain.detach = 1;
    const int result = berth_lease(session_, key.c_str(), &plain, &grant);
    if (result < 0) return Error::last(result);
    return Socket(grant.fd);
  }

  // The keys that this session may lease.
  Result<std::vector<std::string>> keys() {
    Listing listing;
    const int result = berth_keys(session_, &Listing::add, &listing);
    if (result < 0) return Error::last(result);
    if (listing.out_of_memory) return Error{-ENOMEM, BERTH_QUEUE_FULL, "out of memory", {}};
    return std::move(listing.keys);
  }

  uint64_t id() const { return berth_session_id(session_); }
  // For the calls that do not wait: berth_submit(), berth_next_event() and their like.
  berth_session* get() const { return session_; }

 private:
  struct Listing {
    std::vector<std::string> keys;
    bool out_of_memory = false;

    static int add(const char* key, void* arg) {  // called from C: lets no exception out
      auto* self = static_cast<Listing*>(arg);
      try {
        self->keys.emplace_back(key);
      } catch (const std::bad_alloc&) {
        self->out_of_memory = true;
      }
      return self->out_of_memory ? 1 : 0;
    }
  };

  explicit Session(berth_session* session) : session_(session) {}

  static const char* or_null(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
  }
  static berth_options c_options(const LeaseOptions& options) {
    berth_options plain = BERTH_OPTIONS_INIT;
    plain.timeout_ms = options.timeout_ms;
    plain.traceparent = or_null(options.traceparent);
    plain.fallback = or_null(options.fallback);
    return plain;
  }

  berth_session* session_;
};

}  // namespace berth
