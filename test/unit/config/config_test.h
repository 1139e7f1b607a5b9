// ConfigTest: configuration files in a folder of their own, loaded in one call.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "config/load.h"

namespace berth::config {

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-config-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    std::filesystem::create_directory(folder_ / "pools.d");
    options_.main_file = path("berthd.toml");
    options_.pools_dir = path("pools.d");
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }

  Loaded load_main(const std::string& text) const {
    write("berthd.toml", text);
    return load(options_);
  }

  // "file:line: text" of each; the folder's name within the texts becomes "DIR", and what the
  // TOML library says, in words that its next version may change, becomes "…".
  std::vector<std::string> lines(const std::vector<Problem>& problems) const {
    std::vector<std::string> out;
    out.reserve(problems.size());
    for (const Problem& problem : problems) out.push_back(settled(problem.str()));
    return out;
  }

  // The problems of a main file, without its own name: "3: max_idle must be …".
  std::vector<std::string> problems_in(const std::string& text) const {
    std::vector<std::string> out;
    for (const std::string& line : lines(load_main(text).problems)) {
      constexpr std::string_view kMain = "DIR/berthd.toml:";
      out.push_back(line.starts_with(kMain) ? line.substr(kMain.size()) : line);
    }
    return out;
  }

  // The problems of one pool with these settings, without places.
  std::vector<std::string> problems_with(const std::string& settings) const {
    std::vector<std::string> out;
    for (const Problem& problem :
         load_main("[pool.redis]\nendpoints = [\"tcp://h:1\"]\n" + settings + "\n").problems) {
      out.push_back(problem.text);
    }
    return out;
  }

  LoadOptions options_;
  std::filesystem::path folder_;

 private:
  std::string settled(std::string text) const {
    const std::string folder = folder_.string();
    for (size_t at = text.find(folder); at != text.npos; at = text.find(folder)) {
      text.replace(at, folder.size(), "DIR");
    }
    constexpr std::string_view kLibrary = "not valid TOML: ";
    if (const size_t at = text.find(kLibrary); at != text.npos) {
      text.replace(at + kLibrary.size(), text.npos, "…");
    }
    return text;
  }
};

// A variable of the environment, while this is there.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value, 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

using Lines = std::vector<std::string>;

}  // namespace berth::config
