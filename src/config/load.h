// load(): the configuration files of berthd, read and checked.
//
// Blocking (reads files, looks up users): called before the loop runs. Keeps nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/problem.h"
#include "config/settings.h"

namespace berth::config {

// What became of the files that TLS settings name, which are read by who speaks TLS.
struct TlsProbe {
  std::string fault;                  // "SETTING: what is wrong"; "": they can be used
  std::shared_ptr<const void> files;  // kept while all is loaded: pools may name the same
};

struct LoadOptions {
  bool user = false;            // berthd --user: URL keys, private socket, own uid may lease
  std::string main_file;        // "": none
  bool main_file_named = true;  // false: the default place, where no file need be
  std::string pools_dir;        // its *.toml are read in lexical order; "" or missing: none
  std::string runtime_dir;      // where sockets go by default; "": /run/berth
  uint32_t own_uid = 0;         // who may lease by default, with `user`

  // Blocking; nullptr: nobody looks into them.
  std::function<TlsProbe(const TlsSettings&)> probe_tls = {};
};

struct Loaded {
  Settings settings;               // not to be used if there is any problem
  std::vector<Problem> problems;   // all of all files, in the order of files and lines
  std::vector<Problem> warnings;   // valid, but hardly what was meant
  std::vector<std::string> files;  // what was read, in order
};

Loaded load(const LoadOptions& options);

// The folder of the sockets of channel pools that do not say where they listen.
std::string sockets_dir(const LoadOptions& options);

// The settings without any file.
Settings default_settings(const LoadOptions& options);

}  // namespace berth::config
