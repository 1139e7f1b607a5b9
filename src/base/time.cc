#include "base/time.h"

#include <cstdio>

namespace berth {

std::string format_duration(Duration duration) {
  const double ms = std::chrono::duration<double, std::milli>(duration).count();
  const double s = ms / 1e3;
  char text[48];
  if (duration == Duration::zero()) {
    std::snprintf(text, sizeof text, "0 s");
  } else if (ms < 0.9995) {  // no unit shows a thousand of itself
    std::snprintf(text, sizeof text, "%.0f us", ms * 1e3);
  } else if (ms < 999.5) {
    std::snprintf(text, sizeof text, "%.0f ms", ms);
  } else if (s < 10) {
    std::snprintf(text, sizeof text, "%.2g s", s);
  } else if (s < 120) {
    std::snprintf(text, sizeof text, "%.0f s", s);
  } else if (s < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", s / 60);
  } else {
    std::snprintf(text, sizeof text, "%.0f h", s / 3600);
  }
  return text;
}

}  // namespace berth
