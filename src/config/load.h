// load(): the configuration files of berthd, read and checked.
//
// Blocking (reads files, looks up users): called before the loop runs. Keeps nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/problem.h"
#include "config/settings.h"

namespace berth::config {

struct LoadOptions {
  bool user = false;            // berthd --user: URL keys, private socket, own uid may lease
  std::string main_file;        // "": none
  bool main_file_named = true;  // false: the default place, where no file need be
  std::string pools_dir;        // its *.toml are read in lexical order; "" or missing: none
  std::string runtime_dir;      // where sockets go by default; "": /run/berth
  uint32_t own_uid = 0;         // who may lease by default, with `user`
};

struct Loaded {
  Settings settings;               // not to be used if there is any problem
  std::vector<Problem> problems;   // all of all files, in the order of files and lines
  std::vector<Problem> warnings;   // valid, but hardly what was meant
  std::vector<std::string> files;  // what was read, in order
};

Loaded load(const LoadOptions& options);

// The settings without any file.
Settings default_settings(const LoadOptions& options);

}  // namespace berth::config
