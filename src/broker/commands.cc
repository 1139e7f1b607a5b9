#include "broker/commands.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "base/status_text.h"
#include "base/utf8.h"
#include "net/dial.h"
#include "net/receive_fd.h"
#include "net/socket_state.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// Each takes about a millisecond, in which nobody else is served.
constexpr int kStartsPerTurn = 4;
// What a program may need to end once it has passed its connection. Python takes some 20 ms.
constexpr Duration kLeave = 2s;
// The channel, and what the child has.
constexpr uint32_t kSlots = 1 + loop::Child::kDescriptors;

std::vector<std::string> environment(const Commands::Job& job) {
  std::vector<std::string> out = {
      "PATH=" + search_path(), "BERTH_KEY=" + job.key, "BERTH_ENDPOINT=" + job.endpoint.url(),
      "BERTH_HOST=" + host_of(job.endpoint), "BERTH_PORT=" + port_of(job.endpoint)};
  const char* credentials = std::getenv("CREDENTIALS_DIRECTORY");
  if (credentials != nullptr) out.push_back(std::string("CREDENTIALS_DIRECTORY=") + credentials);
  return out;
}

// The last line of what a program has written, for people: one line of UTF-8, not too long.
std::string last_line(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  text = text.substr(text.find_last_of("\r\n") + 1);  // npos + 1 is 0
  std::string out;
  while (!text.empty() && out.size() < kMaxComplaintBytesShown) {
    const size_t size = utf8_sequence(text);
    const bool plain = size > 1 || (size == 1 && text[0] >= ' ' && text[0] != 0x7f);
    out += plain ? text.substr(0, size) : "?";
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return text.empty() ? out : out + "…";
}

std::string how(loop::Child::End end, bool dials) {
  if (end.signal != 0) return fmt::format("was killed by signal {}", end.signal);
  if (end.status != 0 || !dials) return fmt::format("exited with status {}", end.status);
  return "ended without passing a descriptor";
}

}  // namespace

Commands::Commands(loop::Loop& loop, Slots slots, Dialer::Callback dialed,
                   Dialogues::Callback logged_in)
    : loop_(loop),
      slots_(std::move(slots)),
      dialed_(std::move(dialed)),
      logged_in_(std::move(logged_in)),
      next_turn_(loop, [this] { start_some(); }),
      leave_timer_(loop, [this] { kill_late_leavers(); }) {}

void Commands::dial(ConnectionId id, Job job, SharedOptions options) {
  add({.id = id, .job = std::move(job), .options = std::move(options)});
}

void Commands::log_in(ConnectionId id, Talk talk, Job job, int fd) {
  add({.id = id, .job = std::move(job), .socket = fd, .talk = talk});
}

void Commands::add(Run run) {
  run.begun = loop_.now();
  next_end_ = std::min(next_end_, run.job.until);
  Runs& waiting = list(State::waiting);
  waiting.push_back(std::move(run));
  const bool added = by_id_.try_emplace(waiting.back().id, std::prev(waiting.end())).second;
  BERTH_CHECK(added, "one program at a time is run for a connection");
}

void Commands::move_to(Place run, State state) {
  list(state).splice(list(state).end(), list(run->state), run);
  run->state = state;
}

void Commands::abandon(ConnectionId id) {
  const auto at = by_id_.find(id);
  if (at == by_id_.end()) return;
  const Place run = at->second;
  if (run->child != nullptr) run->child->kill();
  leave(run, kNever);
}

void Commands::expire() {
  const TimePoint now = loop_.now();
  if (now < next_end_) return;
  next_end_ = kNever;
  std::vector<ConnectionId> late;
  for (const auto& [id, run] : by_id_) {
    if (run->job.until <= now) {
      late.push_back(id);
    } else {
      next_end_ = std::min(next_end_, run->job.until);
    }
  }
  // What comes of one may be that another is abandoned.
  for (const ConnectionId id : late) {
    if (const auto at = by_id_.find(id); at != by_id_.end()) fail_late(at->second);
  }
}

void Commands::fail_late(Place run) {
  const std::string time = format_duration(run->job.until - run->begun);
  if (run->state == State::waiting) {
    return fail(run, fmt::format("has waited {} for its turn, {} such programs are running", time,
                                 running()));
  }
  fail(run,
       fmt::format("{} within {}", run->dials() ? "passed no connection" : "did not end", time));
}

// --- the start ---

void Commands::end_turn() {
  if (may_start()) next_turn_.arm(loop_.now());
}

bool Commands::may_start() const {
  return !list(State::waiting).empty() && running() < kMostCommands && slots_.could_reserve(kSlots);
}

void Commands::start_some() {
  for (int i = 0; i < kStartsPerTurn && may_start(); ++i) {
    if (!slots_.reserve(kSlots)) return;
    Runs& waiting = list(State::waiting);
    if (waiting.empty()) return slots_.release(kSlots);  // making room has abandoned the last
    start(waiting.begin());
  }
}

void Commands::start(Place run) {
  const absl::Status launched = launch(run);
  if (launched.ok()) return move_to(run, State::running);
  fail(run, text_of(launched));
  slots_.release(kSlots);
}

absl::Status Commands::launch(Place run) {
  loop::Child::Plan plan{expand(run->job.command, run->job.endpoint), environment(run->job)};
  UniqueFd theirs;
  if (run->dials()) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
      return absl::ErrnoToStatus(errno, "cannot be started, for want of a socket pair");
    }
    run->channel.reset(pair[0]);
    theirs.reset(pair[1]);
    plan.out = theirs.get();
  } else {
    net::make_blocking(run->socket);
    plan.third = run->socket;
  }
  auto child =
      loop::Child::start(loop_, plan, [this, run](loop::Child::End end) { ended(run, end); });
  if (!child.ok()) return child.status();
  run->child = *std::move(child);
  if (!run->dials()) return absl::OkStatus();
  run->watch = std::make_unique<loop::FdWatch>(loop_, run->channel.get(),
                                               [this, run](loop::Ready) { receive(run); });
  run->watch->watch({true, false});
  return absl::OkStatus();
}

// --- the end ---

void Commands::receive(Place run) {
  net::PassedFd got = net::receive_fd(run->channel.get());
  switch (got.kind) {
    case net::PassedFd::nothing_yet: return;
    case net::PassedFd::ended: return run->watch.reset();  // why, its end tells
    case net::PassedFd::wrong: return fail(run, "passed " + got.what);
    case net::PassedFd::passed: break;
  }
  const absl::StatusOr<net::SocketAddress> peer = net::adopt(got.fd.get(), *run->options);
  if (!peer.ok()) return fail(run, "passed " + text_of(peer.status()));
  const ConnectionId id = run->id;
  leave(run, loop_.now() + kLeave);
  dialed_(id, Dialed{std::move(got.fd), *peer, run->options, /*shared=*/true});
}

void Commands::ended(Place run, loop::Child::End end) {
  // What it has passed last may not have been looked at yet.
  if (run->state == State::running && run->watch != nullptr) receive(run);
  if (run->state == State::running) {
    const bool good = !run->dials() && end.signal == 0 && end.status == 0;
    good ? logged_in(run) : fail(run, how(end, run->dials()));
  }
  list(State::leaving).erase(run);
  slots_.release(kSlots);
}

void Commands::logged_in(Place run) {
  const ConnectionId id = run->id;
  const Talk talk = run->talk;
  leave(run, kNever);
  logged_in_(id, talk, "");
}

void Commands::fail(Place run, const std::string& what) {
  const std::string program = std::filesystem::path(run->job.command.front()).filename();
  const std::string line = run->child != nullptr ? last_line(run->child->complaints()) : "";
  const std::string why = fmt::format("{} {}{}{}", program, what, line.empty() ? "" : ": ", line);
  const std::string endpoint = run->job.endpoint.url();
  const ConnectionId id = run->id;
  const Talk talk = run->talk;
  const bool dials = run->dials();
  if (run->child != nullptr) run->child->kill();
  leave(run, kNever);
  if (!dials) return logged_in_(id, talk, why);
  dialed_(id, absl::UnavailableError(fmt::format("{}: dial_command: {}", endpoint, why)));
}

// It has nothing more to tell: one that was never started is gone, the others are still to end.
void Commands::leave(Place run, TimePoint leave_by) {
  by_id_.erase(run->id);
  run->watch.reset();
  run->channel.reset();
  if (run->child == nullptr) {
    list(run->state).erase(run);
    return;
  }
  run->leave_by = leave_by;
  move_to(run, State::leaving);
  if (!leave_timer_.armed()) leave_timer_.arm(leave_by);
}

void Commands::kill_leavers() {
  for (const Run& run : list(State::leaving)) run.child->kill();
}

void Commands::kill_late_leavers() {
  TimePoint next = kNever;
  for (Run& run : list(State::leaving)) {
    if (run.leave_by <= loop_.now()) {
      run.child->kill();
      run.leave_by = kNever;
    }
    next = std::min(next, run.leave_by);
  }
  leave_timer_.arm(next);
}

}  // namespace berth::broker
