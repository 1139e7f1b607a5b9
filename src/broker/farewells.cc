#include "broker/farewells.h"

#include <utility>

#include "net/close.h"
#include "net/ktls.h"

namespace berth::broker {

Farewells::Farewells(loop::Loop& loop, std::function<void(const absl::Status&)> closed)
    : loop_(loop), closed_(std::move(closed)), patience_(loop, [this] { hurry(); }) {}

Farewells::~Farewells() {
  if (current_ != nullptr) (void)net::shutdown_pooled(current_->get());
  for (UniqueFd& fd : waiting_) (void)net::close_pooled(std::move(fd), true);
}

bool Farewells::say(UniqueFd& fd) {
  if (waiting_.size() >= kMost) return false;
  waiting_.push_back(std::move(fd));
  if (current_ == nullptr) next();
  return true;
}

void Farewells::next() {
  if (waiting_.empty()) return patience_.arm(kNever);
  current_ = std::make_shared<UniqueFd>(std::move(waiting_.front()));
  waiting_.pop_front();
  patience_.arm(loop_.now() + kPatience);
  loop_.run_on_worker([fd = current_] { net::send_close_notify(fd->get()); },
                      [this, alive = std::weak_ptr<const bool>(alive_)] {
                        if (!alive.expired()) said();
                      });
}

void Farewells::said() {
  close(std::move(*std::exchange(current_, nullptr)));
  next();
}

// A shutdown wakes whoever is within a send(2), and after him the worker.
void Farewells::hurry() {
  (void)net::shutdown_pooled(current_->get());
  for (UniqueFd& fd : std::exchange(waiting_, {})) close(std::move(fd));
}

void Farewells::close(UniqueFd fd) {
  closed_(net::close_pooled(std::move(fd), true));
}

}  // namespace berth::broker
