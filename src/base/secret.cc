#include "base/secret.h"

#include <absl/status/status.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/unique_fd.h"

namespace berth {
namespace {

absl::Status refusal(const std::string& path, const std::string& what) {
  return absl::FailedPreconditionError(path + " " + what);
}

absl::Status failure(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, path + " cannot be read");
}

// What OpenSSH and PostgreSQL ask of a file with a key.
absl::Status check_file(const std::string& path, const struct stat& file) {
  if (!S_ISREG(file.st_mode)) {
    const char* what = S_ISDIR(file.st_mode) ? "is a directory" : "is not a regular file";
    return refusal(path, std::string(what) + "; it must be a file that holds the secret");
  }
  const uid_t own = ::geteuid();
  if (file.st_uid != 0 && file.st_uid != own) {
    return refusal(path, "belongs to user " + std::to_string(file.st_uid) +
                             ", who could change it; it must belong to root or to user " +
                             std::to_string(own) + ", as whom berthd runs");
  }
  const bool roots = file.st_uid == 0;
  const mode_t excess = file.st_mode & (roots ? 037u : 077u);
  if (excess == 0) return absl::OkStatus();
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", file.st_mode & 07777u);
  return refusal(path, std::string("is open to ") + ((excess & 07) != 0 ? "all" : "its group") +
                           " (mode " + mode + "); it must be 0600 or less" +
                           (roots ? ", or 0640 for a group that may read it" : ""));
}

ssize_t read_some(int fd, char* out, size_t size) {
  ssize_t count = 0;
  do {
    count = ::read(fd, out, size);
  } while (count < 0 && errno == EINTR);
  return count;
}

// Reads into `out` until it is full or the file ends; -1 with errno.
ssize_t read_all(int fd, char* out, size_t size) {
  size_t have = 0;
  while (have < size) {
    const ssize_t count = read_some(fd, out + have, size - have);
    if (count < 0) return -1;
    if (count == 0) break;
    have += static_cast<size_t>(count);
  }
  return static_cast<ssize_t>(have);
}

}  // namespace

// One mapping. Written by whoever made it until seal(), read by all after that.
class Secret::Memory {
 public:
  explicit Memory(size_t capacity)
      : capacity_(capacity),
        data_(
            ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    BERTH_CHECK(data_ != MAP_FAILED, "there is memory for a secret");
    BERTH_CHECK(::madvise(data_, capacity_, MADV_DONTDUMP) == 0, "Linux has MADV_DONTDUMP");
    ::mlock(data_, capacity_);  // RLIMIT_MEMLOCK may forbid it; the rest still holds
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    ::mprotect(data_, capacity_, PROT_READ | PROT_WRITE);
    ::explicit_bzero(data_, capacity_);
    ::munmap(data_, capacity_);
  }

  char* data() { return static_cast<char*>(data_); }
  void seal(size_t size) {
    size_ = size;
    ::mprotect(data_, capacity_, PROT_READ);
  }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  const size_t capacity_;
  void* data_;
  size_t size_ = 0;
};

std::string_view Secret::bytes() const {
  return memory_ != nullptr ? memory_->bytes() : std::string_view();
}

Secret Secret::of(std::string_view bytes) {
  return made(bytes.size(), [bytes](char* out) { bytes.copy(out, bytes.size()); });
}

Secret Secret::made(size_t size, const std::function<void(char* out)>& write) {
  BERTH_CHECK(size <= kMaxSecretBytes, "a secret is no longer than its memory");
  auto memory = std::make_shared<Memory>(kMaxSecretBytes);
  write(memory->data());
  memory->seal(size);
  return Secret(std::move(memory));
}

absl::StatusOr<Secret> Secret::from_file(const std::string& path, size_t most) {
  // What is no file is refused, not waited for.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return failure(path, errno);
  struct stat file {};
  if (::fstat(fd.get(), &file) != 0) return failure(path, errno);
  if (absl::Status good = check_file(path, file); !good.ok()) return good;

  auto memory = std::make_shared<Memory>(most);
  const ssize_t count = read_all(fd.get(), memory->data(), most);
  if (count < 0) return failure(path, errno);
  auto size = static_cast<size_t>(count);
  char further = 0;
  if (size == most && read_some(fd.get(), &further, 1) != 0) {
    return refusal(path, "is longer than a secret may be, " + std::to_string(most) + " bytes");
  }
  if (size > 0 && memory->data()[size - 1] == '\n') --size;
  if (size == 0) return refusal(path, "is empty; it must hold the secret");
  memory->seal(size);
  return Secret(std::move(memory));
}

}  // namespace berth
