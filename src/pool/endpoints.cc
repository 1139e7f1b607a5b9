#include "pool/endpoints.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace berth::pool {

void Endpoints::configure(const std::vector<Endpoint>& endpoints) {
  for (Place& place : places_) place.rank.reset();
  for (uint32_t rank = 0; rank < endpoints.size(); ++rank) {
    const Endpoint& endpoint = endpoints[rank];
    auto place = std::find_if(places_.begin(), places_.end(),
                              [&](const Place& each) { return each.endpoint == endpoint; });
    if (place == places_.end()) {
      place = std::find_if(places_.begin(), places_.end(),
                           [](const Place& each) { return !each.rank && each.connections == 0; });
    }
    if (place == places_.end()) place = places_.emplace(places_.end());
    if (place->endpoint != endpoint || place->name.empty()) {
      *place = Place{};
      place->endpoint = endpoint;
      place->name = endpoint.url();
    }
    place->rank = rank;
  }
}

void Endpoints::forget() {
  for (Place& place : places_) {
    place.backoff = {};
    place.last_error.clear();
    place.idle_age = {};
  }
}

void Endpoints::forget_idle_ages() {
  for (Place& place : places_) place.idle_age = {};
}

void Endpoints::entered(uint32_t index, State state) {
  Place& place = places_[index];
  if (state == State::closing) return;
  ++place.connections;
  place.connecting += state == State::connecting;
  place.leased += state == State::leased;
}

void Endpoints::left(uint32_t index, State state) {
  Place& place = places_[index];
  if (state == State::closing) return;
  BERTH_CHECK(place.connections > 0, "what leaves has entered");
  --place.connections;
  place.connecting -= state == State::connecting;
  place.leased -= state == State::leased;
}

bool Endpoints::closed(uint32_t index, TimePoint now) {
  const auto works = [](const Place& each) { return each.connections > each.connecting; };
  if (std::any_of(places_.begin(), places_.end(), works)) return false;
  bool lifted = false;
  for (uint32_t i = 0; i < places_.size(); ++i) {
    if (i == index) continue;
    lifted |= places_[i].backoff.waits(now);
    places_[i].backoff.lift();
  }
  return lifted;
}

bool Endpoints::may_dial(const Place& place, TimePoint now) const {
  return place.rank && !place.backoff.waits(now) &&
         (place.backoff.failures() == 0 || place.connecting == 0);
}

// Among equals it goes round.
bool Endpoints::comes_before(const Place& a, const Place& b, Balance balance) const {
  const auto turn = [this](const Place& place) { return *place.rank - last_rank_ - 1; };
  switch (balance) {
    case Balance::failover: return *a.rank < *b.rank;
    case Balance::least_leased:
      return std::tuple(a.leased, a.connections, turn(a)) <
             std::tuple(b.leased, b.connections, turn(b));
    case Balance::least_streams:
    case Balance::round_robin: break;
  }
  return std::tuple(a.connections, turn(a)) < std::tuple(b.connections, turn(b));
}

std::optional<uint32_t> Endpoints::next(TimePoint now, Balance balance) const {
  std::optional<uint32_t> best;
  for (uint32_t i = 0; i < places_.size(); ++i) {
    if (!may_dial(places_[i], now)) continue;
    if (!best || comes_before(places_[i], places_[*best], balance)) best = i;
  }
  return best;
}

std::optional<uint32_t> Endpoints::best_used_rank() const {
  std::optional<uint32_t> best;
  for (const Place& place : places_) {
    if (!place.rank || place.connections == place.connecting) continue;
    best = std::min(best.value_or(*place.rank), *place.rank);
  }
  return best;
}

std::optional<uint32_t> Endpoints::better(TimePoint now) const {
  const std::optional<uint32_t> used = best_used_rank();
  if (!used) return std::nullopt;
  const bool under_way = std::any_of(places_.begin(), places_.end(), [&](const Place& place) {
    return place.rank && *place.rank < *used && place.connecting > 0;
  });
  const std::optional<uint32_t> first = next(now, Balance::failover);
  return !under_way && first && *places_[*first].rank < *used ? first : std::nullopt;
}

bool Endpoints::gives_way(uint32_t index, uint32_t reached) const {
  const Place& place = places_[index];
  return place.rank && places_[reached].rank && *place.rank > *places_[reached].rank;
}

bool Endpoints::any_healthy() const {
  return std::any_of(places_.begin(), places_.end(), [](const Place& place) {
    return place.rank && place.backoff.failures() == 0;
  });
}

bool Endpoints::all_wait(TimePoint now) const {
  return std::all_of(places_.begin(), places_.end(),
                     [now](const Place& place) { return !place.rank || place.backoff.waits(now); });
}

TimePoint Endpoints::first_ready(TimePoint now) const {
  TimePoint first = kNever;
  for (const Place& place : places_) {
    if (place.rank && place.backoff.waits(now)) first = std::min(first, place.backoff.ready_at());
  }
  return first;
}

TimePoint Endpoints::better_ready(TimePoint now) const {
  const std::optional<uint32_t> used = best_used_rank();
  TimePoint first = kNever;
  for (const Place& place : places_) {
    const bool before = used && place.rank && *place.rank < *used;
    if (before && place.backoff.waits(now)) first = std::min(first, place.backoff.ready_at());
  }
  return first;
}

uint64_t Endpoints::failures() const {
  uint64_t failures = 0;
  for (const Place& place : places_) {
    if (place.rank) failures += place.backoff.failures();
  }
  return failures;
}

const std::string& Endpoints::last_error() const {
  static const std::string none;
  const Place* last = nullptr;
  for (const Place& place : places_) {
    const bool told = place.rank && !place.last_error.empty();
    if (told && (last == nullptr || place.backoff.failed_at() >= last->backoff.failed_at())) {
      last = &place;
    }
  }
  return last != nullptr ? last->last_error : none;
}

}  // namespace berth::pool
