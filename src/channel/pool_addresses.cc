// Where the endpoints are: look-ups, and what follows from their answers.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "channel/pool.h"

namespace berth::channel {
namespace {

// Between two look-ups of one endpoint, however many channels are lost.
constexpr Duration kLeastBetweenLookUps = 1s;

}  // namespace

void Pool::look_up(TimePoint now, Actions& actions) {
  for (uint32_t i = 0; i < policy_.endpoints.size(); ++i) {
    Source& source = sources_[i];
    if (source.asked || now < source.ask_at) continue;
    source.asked = true;
    source.asked_at = now;
    actions.add(Resolve{id_, i});
  }
}

void Pool::ask_soon(TimePoint now, uint32_t endpoint) {
  if (endpoint >= sources_.size()) return;
  Source& source = sources_[endpoint];
  const TimePoint soonest = std::max(now, source.asked_at + kLeastBetweenLookUps);
  source.ask_at = std::min(source.ask_at, soonest);
}

// nullptr: nobody asked, or it is no answer to what is asked now.
Pool::Source* Pool::answered(TimePoint now, uint32_t endpoint, Actions& actions) {
  if (endpoint >= sources_.size() || !sources_[endpoint].asked) return nullptr;
  Source& source = sources_[endpoint];
  source.asked = false;
  if (!std::exchange(source.stale, false)) return &source;
  settle(now, actions);
  return nullptr;
}

void Pool::resolved(TimePoint now, uint32_t endpoint, const std::vector<Place>& places,
                    Actions& actions) {
  if (places.empty()) {
    return resolve_failed(now, endpoint, name_of(endpoint) + " has no address", actions);
  }
  Source* const source = answered(now, endpoint, actions);
  if (source == nullptr) return;
  source->failed = false;
  source->backoff.succeed();
  source->ask_at =
      policy_.dns_refresh == Duration::zero() ? kNever : after(now, policy_.dns_refresh);
  set_addresses(endpoint, places);
  drop_gone(now, actions);
  settle(now, actions);
}

// What is known stays.
void Pool::resolve_failed(TimePoint now, uint32_t endpoint, std::string_view text,
                          Actions& actions) {
  Source* const source = answered(now, endpoint, actions);
  if (source == nullptr) return;
  source->failed = true;
  source->backoff.fail(now, source->asked_at, shared_.random);
  source->ask_at = std::max(source->backoff.ready_at(), source->asked_at + kLeastBetweenLookUps);
  note(now, pool::EventKind::dial_failed, 0, text);
  last_error_ = text;
  settle(now, actions);
}

std::string Pool::name_of(uint32_t endpoint) const {
  return endpoint < policy_.endpoints.size() ? policy_.endpoints[endpoint].url() : "";
}

bool Pool::knows_address_of(uint32_t endpoint) const {
  return std::any_of(subchannels_.begin(), subchannels_.end(),
                     [&](const auto& each) { return !each->gone && each->endpoint == endpoint; });
}

Subchannel* Pool::find(uint32_t endpoint, std::string_view address) const {
  for (const auto& each : subchannels_) {
    if (each->endpoint == endpoint && each->address == address) return each.get();
  }
  return nullptr;
}

void Pool::set_addresses(uint32_t endpoint, const std::vector<Place>& places) {
  size_t others = 0;
  for (const auto& each : subchannels_) {
    if (each->endpoint == endpoint) {
      each->gone = true;
    } else {
      others += !each->gone;
    }
  }
  uint32_t order = 0;
  for (const auto& [address, priority] : places) {
    if (others + order >= kMaxAddresses) break;
    Subchannel* subchannel = find(endpoint, address);
    if (subchannel == nullptr) {
      subchannel = subchannels_.emplace_back(std::make_unique<Subchannel>()).get();
      subchannel->endpoint = endpoint;
      subchannel->address = address;
    } else if (!subchannel->gone) {
      continue;  // it stands there twice
    }
    subchannel->gone = false;
    subchannel->priority = priority;
    subchannel->rank = uint64_t{endpoint} << 32 | order++;
  }
  sort_subchannels();
}

void Pool::sort_subchannels() {
  std::sort(subchannels_.begin(), subchannels_.end(),
            [](const auto& a, const auto& b) { return a->rank < b->rank; });
  const auto differ = [](const auto& a, const auto& b) {
    return a->endpoint == b->endpoint && a->priority != b->priority;
  };
  has_spares_ =
      std::adjacent_find(subchannels_.begin(), subchannels_.end(), differ) != subchannels_.end();
}

void Pool::drop_gone(TimePoint now, Actions& actions) {
  for (const auto& each : subchannels_) {
    if (each->gone) drain_all(now, *each, CloseReason::address_gone, actions);
  }
  std::erase_if(subchannels_, [](const auto& each) { return each->gone && each->channels() == 0; });
}

void Pool::erase_if_gone(Subchannel& subchannel) {
  if (!subchannel.gone || subchannel.channels() > 0) return;
  std::erase_if(subchannels_, [&](const auto& each) { return each.get() == &subchannel; });
}

// The endpoints are others now: what stays keeps its addresses and what is known of them.
void Pool::rename_endpoints(TimePoint now, const std::vector<Endpoint>& before) {
  const std::vector<Endpoint>& endpoints = policy_.endpoints;
  for (const auto& each : subchannels_) {
    if (each->endpoint == kNoEndpoint) continue;
    const auto at = std::find(endpoints.begin(), endpoints.end(), before[each->endpoint]);
    each->gone = each->gone || at == endpoints.end();
    each->endpoint =
        at == endpoints.end() ? kNoEndpoint : static_cast<uint32_t>(at - endpoints.begin());
    each->rank = uint64_t{each->endpoint} << 32 | (each->rank & UINT32_MAX);
  }
  sort_subchannels();
  sources_.resize(std::max(sources_.size(), endpoints.size()));
  for (uint32_t i = 0; i < sources_.size(); ++i) {
    const bool same = i < before.size() && i < endpoints.size() && before[i] == endpoints[i];
    if (!same) {
      const bool asked = sources_[i].asked;
      sources_[i] = Source();
      sources_[i].asked = sources_[i].stale = asked;
    }
    ask_soon(now, i);
  }
}

}  // namespace berth::channel
