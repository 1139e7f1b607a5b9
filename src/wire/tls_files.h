// What TLS settings name in files: certificates of those that are trusted, and our own with its
// key. Immutable once read; any thread. Reading blocks.
#pragma once

#include <absl/status/statusor.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

namespace berth::wire {

// What tells that a file has changed, without reading it.
struct FileStamp {
  int error = 0;  // of stat(); all else is 0 then
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};
  timespec changed{};

  friend bool operator==(const FileStamp& a, const FileStamp& b);
};

// Of the file; of a folder, and the files in it that certificates are read from.
std::vector<FileStamp> stamps_of(const std::string& path);

class TlsTrust {
 public:
  // `ca` is the setting: a PEM file, a folder of them, or "system". Who asks for the same files
  // gets the same object, as long as there is one. Certificates that cannot be parsed are left
  // out; it is an error if there is no other.
  static absl::StatusOr<std::shared_ptr<const TlsTrust>> of(const std::string& ca);
  // The path that the setting stands for.
  static std::string path_of(const std::string& ca);

  TlsTrust();
  ~TlsTrust();
  TlsTrust(const TlsTrust&) = delete;
  TlsTrust& operator=(const TlsTrust&) = delete;

  // mbedTLS takes no const, and changes nothing.
  mbedtls_x509_crt* chain() const { return const_cast<mbedtls_x509_crt*>(&chain_); }

 private:
  absl::Status read(const std::string& path);

  mbedtls_x509_crt chain_;
};

// Our certificate, those that lead to its issuer, and its private key.
class TlsIdentity {
 public:
  static absl::StatusOr<std::shared_ptr<const TlsIdentity>> of(const std::string& certificate,
                                                               const std::string& private_key);
  TlsIdentity();
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  mbedtls_x509_crt* chain() const { return const_cast<mbedtls_x509_crt*>(&chain_); }
  mbedtls_pk_context* key() const { return const_cast<mbedtls_pk_context*>(&key_); }

 private:
  absl::Status read_chain(const std::string& path);
  absl::Status read_key(const std::string& path);

  mbedtls_x509_crt chain_;
  mbedtls_pk_context key_;
};

}  // namespace berth::wire
