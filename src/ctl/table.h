// Table: rows of text in aligned columns, for a terminal or for a file.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace berth::ctl {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
  bool shrinks = false;  // is cut where the line would be longer than the terminal is wide
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column. Bytes that would steer a terminal are shown as '?'.
  void add(std::vector<std::string> cells);

  // In lines of at most `width` columns, as far as cutting can do that; 0: as long as they are.
  std::string text(size_t width) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// The width of the terminal behind `out`: $COLUMNS, else what it says, else 80. 0: it is none.
size_t terminal_width(FILE* out);

}  // namespace berth::ctl
