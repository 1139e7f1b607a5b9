// Files of the configuration as text. Blocking.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace berth::config {

// A file or folder that could not be read.
struct FileError {
  bool missing = false;
  std::string text;
};

// At most 4 MiB, which is a thousand pools with many comments; more is a wrong file.
std::variant<std::string, FileError> read_text(const std::string& path);

// The paths of the *.toml in a folder, in lexical order, without hidden ones (which editors make).
std::variant<std::vector<std::string>, FileError> toml_files(const std::string& folder);

}  // namespace berth::config
