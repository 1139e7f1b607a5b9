// Problem: one thing wrong with the configuration, where and in words for the file's writer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace berth::config {

// A position in a file, counted from 1; line 0 means the file as a whole.
struct Place {
  int line = 0;
  int column = 0;
};

struct Problem {
  std::string file;
  int line = 0;    // 0: the file as a whole
  int column = 0;  // 0: unknown
  std::string text;

  std::string str() const;  // "file:line: text", or "file: text"
};

// Collects what is found in one file. Borrows both lists, which outlive it.
class Report {
 public:
  Report(std::string file, std::vector<Problem>& problems, std::vector<Problem>& warnings)
      : file_(std::move(file)), problems_(problems), warnings_(warnings) {}

  const std::string& file() const { return file_; }
  void problem(Place place, std::string text);
  void warning(Place place, std::string text);

 private:
  std::string file_;
  std::vector<Problem>& problems_;
  std::vector<Problem>& warnings_;
};

}  // namespace berth::config
