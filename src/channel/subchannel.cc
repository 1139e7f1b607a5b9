#include "channel/subchannel.h"

namespace berth::channel {

size_t Subchannel::channels() const {
  size_t channels = 0;
  for (const StateList& each : by_state_) channels += each.size();
  return channels;
}

size_t Subchannel::lasting() const {
  size_t lasting = 0;
  for (const State state : {State::connecting, State::checking, State::ready}) {
    for (const Channel& channel : list(state)) lasting += !channel.successor.valid();
  }
  return lasting;
}

bool Subchannel::under_way() const {
  return under_way_count() > 0;
}

size_t Subchannel::under_way_count() const {
  size_t count = list(State::connecting).size();
  for (const Channel& channel : list(State::checking)) {
    count += channel.health == Channel::Health::unknown;
  }
  return count;
}

void Subchannel::note_room(Channel& channel) {
  const bool stands_in = with_room.contains(channel);
  if (stands_in == channel.has_room()) return;
  if (stands_in) {
    with_room.remove(channel);
  } else {
    with_room.push_back(channel);
  }
}

void Subchannel::reached() {
  dials_.succeed();
  last_error.clear();
}

void Subchannel::ended(TimePoint now, const Channel& channel, Random& random) {
  if (channel.finished == 0 && now - channel.ready_at < kShortLife) {
    ends_.fail(now, channel.ready_at, random);
  } else {
    ends_.succeed();
  }
}

bool Subchannel::may_dial(TimePoint now) const {
  if (gone || waits(now)) return false;
  return failures() == 0 || !list(State::ready).empty() || list(State::connecting).empty();
}

}  // namespace berth::channel
