// Files, some of them with secrets, that settings name (berthd.toml(5), "send_file").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "config/setting.h"

namespace berth::config {

// What the file holds that `path` means: an absolute path, or "%d/NAME" for a credential of
// systemd. Nothing after telling `reading` why; never with a text that is no such path, since it
// may be the secret itself. Blocking.
std::optional<Secret> read_secret(const std::string& path, const Value& value, Reading& reading);

// The kind of the settings that are such a path, or "none".
struct SecretPath {
  std::optional<FiledSecret> read(const Value& value, Reading& reading) const;
  std::string write(const FiledSecret& secret) const;  // where it is
  std::string bounds() const { return {}; }
};

// The path of a file that is read later on, or `none`, which stands for "". What it means is kept.
struct FilePath {
  std::string_view none = "none";
  std::string_view none_means = {};
  bool may_be_folder = false;

  std::optional<std::string> read(const Value& value, Reading& reading) const;
  std::string write(const std::string& path) const;
  std::string bounds() const { return {}; }
};

}  // namespace berth::config
