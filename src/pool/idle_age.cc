#include "pool/idle_age.h"

#include <algorithm>

namespace berth::pool {

bool IdleAge::closed(TimePoint now, Duration age) {
  if (age < kYoungest || (count_ > 0 && now - last_ < kOneMoment)) return false;
  last_ = now;
  ages_[count_++ % kEnough] = age;
  if (count_ < kEnough) return false;
  const auto [youngest, oldest] = std::minmax_element(ages_.begin(), ages_.end());
  if (*oldest > *youngest * kAboutTheSame) return false;
  const auto limit = std::chrono::duration_cast<Duration>(*youngest * kPart);
  const bool news = limit != limit_;
  limit_ = limit;
  return news;
}

}  // namespace berth::pool
