// Words: the command line, read once from left to right.
//
//   while (words.more()) {
//     if (const char* option = words.option()) …            // "--fd 4" or "--fd=4"
//     else …words.next()…                                    // an argument
//   }
#pragma once

#include <cstring>

namespace berth::cli {

class Words {
 public:
  explicit Words(char** words) : next_(words) {}

  bool more() const { return *next_ != nullptr; }
  char* next() { return *next_++; }
  char** rest() const { return next_; }

  // True, and past it, if the next word is "--".
  bool end_of_options() {
    if (!more() || std::strcmp(*next_, "--") != 0) return false;
    ++next_;
    return true;
  }

  // The next word if it is an option, without its "=VALUE"; nullptr if it is an argument.
  const char* option() {
    if (!more() || (*next_)[0] != '-' || (*next_)[1] == '\0') return nullptr;
    char* word = next();
    value_ = nullptr;
    if (word[1] != '-') return word;
    if (char* equals = std::strchr(word, '=')) {
      *equals = '\0';
      value_ = equals + 1;
    }
    return word;
  }

  // The value of the option just read; nullptr if the command line ends before it.
  const char* value() {
    if (value_ != nullptr) return value_;
    return more() ? next() : nullptr;
  }

  // Whether the option just read came with "=VALUE".
  bool has_value() const { return value_ != nullptr; }

 private:
  char** next_;
  const char* value_ = nullptr;
};

}  // namespace berth::cli
