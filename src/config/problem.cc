#include "config/problem.h"

namespace berth::config {

std::string Problem::str() const {
  return file + (line > 0 ? ":" + std::to_string(line) : "") + ": " + text;
}

void Report::problem(Place place, std::string text) {
  problems_.push_back({file_, place.line, place.column, std::move(text)});
}

void Report::warning(Place place, std::string text) {
  warnings_.push_back({file_, place.line, place.column, std::move(text)});
}

}  // namespace berth::config
