#include "config/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/unique_fd.h"

namespace berth::config {
namespace {

constexpr size_t kMaxFileBytes = 4 * 1024 * 1024;

FileError file_error(int error) {
  return {error == ENOENT, std::string("cannot be read: ") + std::strerror(error)};
}

// Appends what the next read brings: its size, 0 at the end, -1 with errno.
ssize_t read_more(int fd, std::string& text) {
  char buffer[16384];
  ssize_t size = 0;
  do {
    size = ::read(fd, buffer, sizeof buffer);
  } while (size < 0 && errno == EINTR);
  if (size > 0) text.append(buffer, static_cast<size_t>(size));
  return size;
}

}  // namespace

std::variant<std::string, FileError> read_text(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return file_error(errno);
  std::string text;
  for (;;) {
    const ssize_t size = read_more(fd.get(), text);
    if (size < 0) return file_error(errno);
    if (size == 0) return text;
    if (text.size() > kMaxFileBytes) return FileError{false, "is larger than 4 MiB"};
  }
}

std::variant<std::vector<std::string>, FileError> toml_files(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> paths;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.ends_with(".toml") && !name.starts_with('.')) paths.push_back(entry->path());
  }
  if (error) return file_error(error.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace berth::config
