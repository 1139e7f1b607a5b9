#include "config/secret_path.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/status_text.h"
#include "config/text.h"

namespace berth::config {
namespace {

constexpr std::string_view kCredentials = "%d/";  // as in systemd's units
constexpr std::string_view kNone = "none";

// The file that `path` means; "" after telling `reading` why there is none.
std::string resolve(const std::string& path, const Value& value, Reading& reading) {
  const bool whole = path.find('\0') == path.npos && !path.ends_with('/');
  if (path.starts_with('/') && whole) return path;
  const std::string name = path.starts_with(kCredentials) ? path.substr(kCredentials.size()) : "";
  if (name.empty() || name == ".." || name.find('/') != name.npos || !whole) {
    reading.refuse(
        value, " must be the absolute path of a file, or \"%d/NAME\" for a credential of systemd");
    return {};
  }
  const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
  if (folder != nullptr) return std::string(folder) + "/" + name;
  reading.refuse(value,
                 ": %d is $CREDENTIALS_DIRECTORY, which is not set; systemd sets it for a "
                 "service with LoadCredential=");
  return {};
}

}  // namespace

std::optional<Secret> read_secret(const std::string& path, const Value& value, Reading& reading) {
  const std::string file = resolve(path, value, reading);
  if (file.empty()) return std::nullopt;
  auto secret = Secret::from_file(file);
  if (secret.ok()) return *std::move(secret);
  reading.refuse(value, ": " + text_of(secret.status()));
  return std::nullopt;
}

std::optional<FiledSecret> SecretPath::read(const Value& value, Reading& reading) const {
  const auto* path = value.get<std::string>();
  if (path == nullptr) {
    reading.refuse(value, " must be the path of a file in quotes, or \"none\"");
    return std::nullopt;
  }
  if (*path == kNone) return FiledSecret();
  std::optional<Secret> secret = read_secret(*path, value, reading);
  if (!secret) return std::nullopt;
  return FiledSecret{*path, *std::move(secret)};
}

std::string SecretPath::write(const FiledSecret& secret) const {
  return toml_string(secret.path.empty() ? kNone : std::string_view(secret.path));
}

std::optional<std::string> FilePath::read(const Value& value, Reading& reading) const {
  const auto* path = value.get<std::string>();
  if (path == nullptr) {
    reading.refuse(value, " must be the path of a file in quotes, or " + toml_string(none));
    return std::nullopt;
  }
  if (*path == none) return std::string(none_means);
  std::string_view plain = *path;
  while (may_be_folder && plain.ends_with('/')) plain.remove_suffix(1);
  std::string file = resolve(std::string(plain), value, reading);
  if (file.empty()) return std::nullopt;
  return file;
}

std::string FilePath::write(const std::string& path) const {
  return toml_string(path == none_means ? none : std::string_view(path));
}

}  // namespace berth::config
