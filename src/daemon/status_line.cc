#include "daemon/status_line.h"

#include <algorithm>

#include "base/limits.h"
#include "base/utf8.h"

namespace berth::daemon {

std::string status_line(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const size_t step = utf8_sequence(text);
    std::string_view next = text.substr(0, step);
    if (step == 0) next = "?";
    if (step == 1 && next.front() < ' ') next = " ";
    if (line.size() + next.size() > kMaxMessageBytes) break;
    line += next;
    text.remove_prefix(std::max<size_t>(step, 1));
  }
  return line;
}

}  // namespace berth::daemon
