#include "ctl/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace berth::ctl {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrowest = 8;  // of a column that is cut
constexpr const char* kCut = "…";

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// In columns of a terminal, near enough: one for each character.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string fitted(const std::string& text, size_t width) {
  if (width_of(text) <= width) return text;
  size_t end = 0;
  for (size_t count = 0; end < text.size(); ++end) {
    if (!continues(text[end]) && ++count == width) break;
  }
  return text.substr(0, end) + kCut;
}

void append(std::string& line, const std::string& cell, size_t width, Align align) {
  const std::string text = fitted(cell, width);
  const std::string space(width - width_of(text), ' ');
  line += align == Align::right ? space + text : text + space;
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  for (std::string& cell : cells) {
    for (char& c : cell) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text(size_t width) const {
  std::vector<size_t> widths;
  size_t line_width = 0;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t widest = width_of(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, width_of(row[i]));
    widths.push_back(widest);
    line_width += widest + (i > 0 ? kGap : 0);
  }
  // The widest gives way first.
  while (width > 0 && line_width > width) {
    size_t* widest = nullptr;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (!columns_[i].shrinks || widths[i] <= kNarrowest) continue;
      if (widest == nullptr || widths[i] > *widest) widest = &widths[i];
    }
    if (widest == nullptr) break;
    --*widest;
    --line_width;
  }
  std::string out;
  const auto add_line = [&](auto&& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line.append(kGap, ' ');
      append(line, cell_of(i), widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line([&](size_t i) { return columns_[i].title; });
  for (const auto& row : rows_) add_line([&](size_t i) { return row[i]; });
  return out;
}

size_t terminal_width(FILE* out) {
  constexpr size_t kUsual = 80;
  if (isatty(fileno(out)) == 0) return 0;
  const char* columns = std::getenv("COLUMNS");
  if (const int said = columns != nullptr ? std::atoi(columns) : 0; said > 0) {
    return static_cast<size_t>(said);
  }
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsual;
}

}  // namespace berth::ctl
