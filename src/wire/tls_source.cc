#include "wire/tls_source.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "base/status_text.h"
#include "wire/tls_context.h"
#include "wire/tls_ticket.h"

namespace berth::wire {
namespace {

using Clock = std::chrono::steady_clock;
using ContextPointer = std::shared_ptr<const TlsContext>;

constexpr std::chrono::seconds kBetweenLooks{1};

}  // namespace

class TlsSource::State {
 public:
  State(TlsSettings settings, std::vector<TlsCipher> ciphers)
      : settings_(std::move(settings)), ciphers_(std::move(ciphers)) {}

  absl::StatusOr<ContextPointer> context();
  std::string take_complaint();
  std::shared_ptr<const Ticket> ticket(const std::string& server) const;
  void keep(const std::string& server, std::shared_ptr<const Ticket> ticket);

  const TlsSettings& settings() const { return settings_; }
  const std::vector<TlsCipher>& ciphers() const { return ciphers_; }

 private:
  struct Kept {
    std::shared_ptr<const Ticket> ticket;
    uint64_t order;
  };

  std::vector<FileStamp> stamps() const;
  absl::StatusOr<ContextPointer> read() const;

  const TlsSettings settings_;
  const std::vector<TlsCipher> ciphers_;

  std::mutex reading_;  // held while files are read
  std::optional<Clock::time_point> looked_;
  std::vector<FileStamp> stamps_;
  absl::StatusOr<ContextPointer> context_ = nullptr;  // an error: there has been none yet

  mutable std::mutex short_;  // never held for long, nor while the other one is taken
  std::string complaint_;
  std::map<std::string, Kept> tickets_;
  uint64_t kept_ = 0;
};

std::vector<FileStamp> TlsSource::State::stamps() const {
  std::vector<FileStamp> all;
  const auto add = [&](const std::string& path) {
    if (path.empty()) return;
    for (const FileStamp& stamp : stamps_of(path)) all.push_back(stamp);
  };
  if (settings_.verify != TlsVerify::none) add(TlsTrust::path_of(settings_.ca));
  add(settings_.certificate);
  add(settings_.private_key);
  return all;
}

absl::StatusOr<ContextPointer> TlsSource::State::read() const {
  std::shared_ptr<const TlsTrust> trust;
  if (settings_.verify != TlsVerify::none) {
    auto read = TlsTrust::of(settings_.ca);
    if (!read.ok()) return read.status();
    trust = *std::move(read);
  }
  std::shared_ptr<const TlsIdentity> identity;
  if (!settings_.certificate.empty()) {
    auto read = TlsIdentity::of(settings_.certificate, settings_.private_key);
    if (!read.ok()) return read.status();
    identity = *std::move(read);
  }
  return std::make_shared<const TlsContext>(settings_, ciphers_, std::move(trust),
                                            std::move(identity));
}

// The stamps are taken before the files are read, so that a change meanwhile is found later on.
absl::StatusOr<ContextPointer> TlsSource::State::context() {
  const std::lock_guard lock(reading_);
  const Clock::time_point now = Clock::now();
  if (looked_.has_value() && now - *looked_ < kBetweenLooks) return context_;
  std::vector<FileStamp> found = stamps();
  const bool first = !looked_.has_value();
  looked_ = now;
  if (!first && found == stamps_) return context_;
  stamps_ = std::move(found);
  absl::StatusOr<ContextPointer> fresh = read();
  if (fresh.ok() || first || !context_.ok()) return context_ = std::move(fresh);
  const std::lock_guard also(short_);
  complaint_ = text_of(fresh.status()) + "; what was read before goes on being used";
  return context_;
}

std::string TlsSource::State::take_complaint() {
  const std::lock_guard lock(short_);
  return std::exchange(complaint_, {});
}

std::shared_ptr<const TlsSource::Ticket> TlsSource::State::ticket(const std::string& server) const {
  const std::lock_guard lock(short_);
  const auto at = tickets_.find(server);
  return at != tickets_.end() ? at->second.ticket : nullptr;
}

void TlsSource::State::keep(const std::string& server, std::shared_ptr<const Ticket> ticket) {
  const std::lock_guard lock(short_);
  if (ticket == nullptr) {
    tickets_.erase(server);
    return;
  }
  tickets_[server] = {std::move(ticket), kept_++};
  if (tickets_.size() <= kMaxTlsTickets) return;
  tickets_.erase(std::min_element(
      tickets_.begin(), tickets_.end(),
      [](const auto& a, const auto& b) { return a.second.order < b.second.order; }));
}

TlsSource::TlsSource(TlsSettings settings, std::vector<TlsCipher> ciphers)
    : state_(std::make_unique<State>(std::move(settings), std::move(ciphers))) {}
TlsSource::~TlsSource() = default;

const TlsSettings& TlsSource::settings() const {
  return state_->settings();
}
const std::vector<TlsCipher>& TlsSource::ciphers() const {
  return state_->ciphers();
}

absl::StatusOr<ContextPointer> TlsSource::context() {
  return state_->context();
}
std::string TlsSource::take_complaint() {
  return state_->take_complaint();
}

std::shared_ptr<const TlsSource::Ticket> TlsSource::ticket(const std::string& server) const {
  return state_->ticket(server);
}

void TlsSource::keep(const std::string& server, std::shared_ptr<const Ticket> ticket) {
  state_->keep(server, std::move(ticket));
}

}  // namespace berth::wire
