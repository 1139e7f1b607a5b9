#include "wire/tls_files.h"

#include <absl/status/status.h>
#include <dirent.h>
#include <fcntl.h>
#include <mbedtls/pem.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "base/limits.h"
#include "base/secret.h"
#include "base/status_text.h"
#include "base/unique_fd.h"
#include "wire/tls_certificate.h"
#include "wire/tls_internals.h"

namespace berth::wire {
namespace {

constexpr const char* kSystemsAuthorities = "/etc/ssl/certs/ca-certificates.crt";

absl::Status refusal(const char* setting, const std::string& path, const std::string& what) {
  return absl::FailedPreconditionError(std::string(setting) + ": " + path + " " + what);
}

absl::Status unreadable(const char* setting, const std::string& path, int error) {
  return refusal(setting, path, std::string("cannot be read: ") + std::strerror(error));
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

FileStamp stamp_of(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return {.error = errno};
  return {0, file.st_dev, file.st_ino, file.st_size, file.st_mtim, file.st_ctim};
}

// As `openssl rehash` names them by their subject: 8 hexadecimal digits, a dot, a number.
bool is_hashed_name(const std::string& name) {
  const auto digits = [&](size_t from, size_t to, const char* which) {
    return from < to && name.find_first_not_of(which, from) >= to;
  };
  return name.size() > 9 && name[8] == '.' && digits(0, 8, "0123456789abcdef") &&
         digits(9, name.size(), "0123456789");
}

bool is_certificate_name(const std::string& name) {
  return name.ends_with(".pem") || name.ends_with(".crt") || is_hashed_name(name);
}

// The files of a folder that certificates are read from, in order.
std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  if (open == nullptr) return found;
  for (size_t seen = 0; seen < kMaxTrustFolderFiles; ++seen) {
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) break;
    if (is_certificate_name(entry->d_name)) found.push_back(folder + "/" + entry->d_name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// All of a regular file, with a NUL behind it, as mbedTLS wants PEM.
absl::StatusOr<std::string> read_certificates(const char* setting, const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return unreadable(setting, path, errno);
  struct stat file {};
  if (::fstat(fd.get(), &file) != 0) return unreadable(setting, path, errno);
  if (!S_ISREG(file.st_mode)) return refusal(setting, path, "is not a regular file");
  if (file.st_size > static_cast<off_t>(kMaxCertificateFileBytes)) {
    return refusal(setting, path,
                   "is longer than a file of certificates may be, " +
                       std::to_string(kMaxCertificateFileBytes) + " bytes");
  }
  std::string text(static_cast<size_t>(file.st_size) + 1, '\0');
  size_t have = 0;
  while (have < text.size() - 1) {
    const ssize_t count = ::read(fd.get(), text.data() + have, text.size() - 1 - have);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return unreadable(setting, path, errno);
    if (count == 0) break;
    have += static_cast<size_t>(count);
  }
  text.resize(have + 1);
  text[have] = '\0';
  return text;
}

constexpr int kNoPem = MBEDTLS_ERR_PEM_NO_HEADER_FOOTER_PRESENT;

// 0, an error, or how many could not be parsed. What is no PEM, mbedTLS would take for DER.
int parse(mbedtls_x509_crt& chain, const std::string& text) {
  if (text.find("-----BEGIN CERTIFICATE-----") == std::string::npos) return kNoPem;
  return mbedtls_x509_crt_parse(&chain, reinterpret_cast<const unsigned char*>(text.data()),
                                text.size());
}

std::string why_no_certificate(int error) {
  if (error == kNoPem) return "holds no certificate in PEM";
  return "holds a certificate that cannot be parsed: " + words_of_error(error);
}

}  // namespace

bool operator==(const FileStamp& a, const FileStamp& b) {
  return std::tie(a.error, a.device, a.inode, a.size) ==
             std::tie(b.error, b.device, b.inode, b.size) &&
         same_time(a.modified, b.modified) && same_time(a.changed, b.changed);
}

std::vector<FileStamp> stamps_of(const std::string& path) {
  std::vector<FileStamp> stamps{stamp_of(path)};
  for (const std::string& file : files_in(path)) stamps.push_back(stamp_of(file));
  return stamps;
}

// ---- whom we trust ----

TlsTrust::TlsTrust() {
  mbedtls_x509_crt_init(&chain_);
}

TlsTrust::~TlsTrust() {
  mbedtls_x509_crt_free(&chain_);
}

std::string TlsTrust::path_of(const std::string& ca) {
  return ca == "system" ? kSystemsAuthorities : ca;
}

absl::StatusOr<std::shared_ptr<const TlsTrust>> TlsTrust::of(const std::string& ca) {
  struct Entry {
    std::vector<FileStamp> stamps;
    std::weak_ptr<const TlsTrust> trust;
  };
  static std::mutex mutex;
  static std::map<std::string, Entry> known;

  const std::string path = path_of(ca);
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.trust.expired(); });
  std::vector<FileStamp> stamps = stamps_of(path);
  if (const auto at = known.find(path); at != known.end() && at->second.stamps == stamps) {
    if (auto trust = at->second.trust.lock()) return trust;
  }
  auto trust = std::make_shared<TlsTrust>();
  if (absl::Status read = trust->read(path); !read.ok()) {
    if (ca != "system") return read;
    return absl::FailedPreconditionError(
        text_of(read) + "; Debian's package ca-certificates makes that file, or name another one");
  }
  known[path] = {std::move(stamps), trust};
  return trust;
}

absl::Status TlsTrust::read(const std::string& path) {
  struct stat file {};
  const bool folder = ::stat(path.c_str(), &file) == 0 && S_ISDIR(file.st_mode);
  std::map<std::pair<dev_t, ino_t>, bool> seen;  // links lead to the same file again and again
  absl::Status first;
  for (const std::string& name : folder ? files_in(path) : std::vector{path}) {
    if (folder && (::stat(name.c_str(), &file) != 0 || !S_ISREG(file.st_mode) ||
                   !seen.try_emplace({file.st_dev, file.st_ino}).second)) {
      continue;
    }
    const absl::StatusOr<std::string> text = read_certificates("ca", name);
    const int error = text.ok() ? parse(chain_, *text) : 0;
    if (error < 0 && first.ok()) first = refusal("ca", name, why_no_certificate(error));
    if (!text.ok() && first.ok()) first = text.status();
  }
  if (chain_.raw.p == nullptr && !first.ok()) return first;
  if (chain_.raw.p == nullptr) {
    return refusal("ca", path,
                   "is a folder without files of certificates (*.pem, *.crt, or as openssl rehash "
                   "names them)");
  }
  for (mbedtls_x509_crt* at = &chain_; at != nullptr; at = at->next) mbed::make_shareable(at->pk);
  return absl::OkStatus();
}

// ---- who we are ----

TlsIdentity::TlsIdentity() {
  mbedtls_x509_crt_init(&chain_);
  mbedtls_pk_init(&key_);
}

TlsIdentity::~TlsIdentity() {
  mbedtls_pk_free(&key_);
  mbedtls_x509_crt_free(&chain_);
}

absl::StatusOr<std::shared_ptr<const TlsIdentity>> TlsIdentity::of(const std::string& certificate,
                                                                   const std::string& private_key) {
  auto identity = std::make_shared<TlsIdentity>();
  if (absl::Status read = identity->read_chain(certificate); !read.ok()) return read;
  if (absl::Status read = identity->read_key(private_key); !read.ok()) return read;
  if (mbedtls_pk_check_pair(&identity->chain_.pk, &identity->key_) != 0) {
    return refusal("private_key", private_key,
                   "does not fit the first certificate in " + certificate + ", which is that of " +
                       subject_of(identity->chain_) + "; it must hold the key of that one");
  }
  mbed::make_shareable(identity->key_);
  return identity;
}

absl::Status TlsIdentity::read_chain(const std::string& path) {
  const absl::StatusOr<std::string> text = read_certificates("certificate", path);
  if (!text.ok()) return text.status();
  const int error = parse(chain_, *text);
  if (error < 0) return refusal("certificate", path, why_no_certificate(error));
  if (error == 0 && chain_.raw.p != nullptr) return absl::OkStatus();
  return refusal("certificate", path,
                 "holds certificates that cannot be parsed: " + std::to_string(error) + " of them");
}

absl::Status TlsIdentity::read_key(const std::string& path) {
  const absl::StatusOr<Secret> secret = Secret::from_file(path, kMaxPrivateKeyBytes);
  if (!secret.ok()) {
    return absl::Status(secret.status().code(), "private_key: " + text_of(secret.status()));
  }
  std::string text(secret->bytes());
  const int error = mbedtls_pk_parse_key(
      &key_, reinterpret_cast<const unsigned char*>(text.c_str()), text.size() + 1, nullptr, 0);
  ::explicit_bzero(text.data(), text.size());
  mbed::keep_out_of_core_dumps(key_);
  switch (error) {
    case 0: return absl::OkStatus();
    case MBEDTLS_ERR_PK_PASSWORD_REQUIRED:
      return refusal("private_key", path,
                     "is encrypted with a passphrase, which is not supported; it must hold the key "
                     "as it is, in a file that only its owner can read");
    case MBEDTLS_ERR_PK_KEY_INVALID_FORMAT:
      return refusal("private_key", path,
                     "holds no private key in PEM, or one of another kind than RSA or ECDSA");
    default:
      return refusal("private_key", path,
                     "holds no key that can be used, which would be one of "
                     "RSA or ECDSA: " +
                         words_of_error(error));
  }
}

}  // namespace berth::wire
