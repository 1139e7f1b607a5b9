// berth_read() and berth_shutdown_write(): read(2) and shutdown(2) that know kernel TLS.
//
// Any thread. The kernel delivers a TLS record that is not data only to a recvmsg() with room for
// its type; until then read(2) fails with EIO, each time.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <new>
#include <string>

#include "berth/berth.h"
#include "failure.h"

namespace {

using berth::client::failed;
using berth::client::report;
using berth::client::with_reason;

// From linux/tls.h, which some C libraries lack.
constexpr int kSolTls = 282;
constexpr int kSetRecordType = 1;
constexpr int kGetRecordType = 2;

// RFC 5246, sections 6.2.1, 7.2 and 7.4; RFC 8446, section 4.
constexpr unsigned char kAlert = 21;
constexpr unsigned char kHandshake = 22;
constexpr unsigned char kCloseNotify = 0;
constexpr unsigned char kHelloRequest = 0;
constexpr unsigned char kNewSessionTicket = 4;
constexpr size_t kMaxRecord = 16384;

struct Record {
  unsigned char type = 0;
  unsigned char bytes[kMaxRecord];
  size_t size = 0;
};

bool has_kernel_tls(int fd) {
  char ulp[16] = "";
  socklen_t size = sizeof ulp;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &size) == 0 && std::strcmp(ulp, "tls") == 0;
}

// 0 or a positive errno.
int take_record(int fd, Record& record) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof record.type)];
  iovec part{record.bytes, sizeof record.bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd, &message, 0);
  if (n < 0) return errno;
  const cmsghdr* c = CMSG_FIRSTHDR(&message);
  if (c == nullptr || c->cmsg_level != kSolTls || c->cmsg_type != kGetRecordType) return EIO;
  std::memcpy(&record.type, CMSG_DATA(c), sizeof record.type);
  record.size = static_cast<size_t>(n);
  return 0;
}

enum class Meaning { skip, end, failure };

Meaning meaning_of(const Record& record) {
  if (record.type == kAlert && record.size >= 2) {
    return record.bytes[1] == kCloseNotify ? Meaning::end : Meaning::failure;
  }
  if (record.type != kHandshake || record.size == 0) return Meaning::failure;
  const bool harmless = record.bytes[0] == kHelloRequest || record.bytes[0] == kNewSessionTicket;
  return harmless ? Meaning::skip : Meaning::failure;
}

std::string describe(const Record& record) {
  const bool alert = record.type == kAlert && record.size >= 2;
  if (alert) return "the server ended TLS with alert " + std::to_string(record.bytes[1]);
  return "the server sent a TLS record of type " + std::to_string(record.type) +
         " that kernel TLS cannot answer";
}

// From now on each read tells so, as at any end of a stream: the server may go on to wait for our
// close_notify before it closes.
int end_of_stream(int fd) {
  ::shutdown(fd, SHUT_RD);
  return 0;
}

// After EIO. 0: the stream has ended; 1: read again; negative: failed. Not inlined, so that only
// those who meet a record spend its size of stack.
[[gnu::noinline]] int handle_record(int fd) {
  if (!has_kernel_tls(fd)) return report(failed(EIO, with_reason("cannot read", EIO)));
  Record record;
  const int error = take_record(fd, record);
  if (error != 0) return report(failed(error, with_reason("cannot read a TLS record", error)));
  switch (meaning_of(record)) {
    case Meaning::skip: return 1;
    case Meaning::end: return end_of_stream(fd);
    case Meaning::failure: break;
  }
  return report(failed(EPROTO, describe(record)));
}

// A fatal lack of room is the caller's shutdown's business: the connection ends in any case.
void send_close_notify(int fd) {
  unsigned char alert[] = {1, kCloseNotify};  // level warning
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof kAlert)] = {};
  iovec part{alert, sizeof alert};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = kSolTls;
  c->cmsg_type = kSetRecordType;
  c->cmsg_len = CMSG_LEN(sizeof kAlert);
  std::memcpy(CMSG_DATA(c), &kAlert, sizeof kAlert);
  while (::sendmsg(fd, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) continue;
}

}  // namespace

ssize_t berth_read(int fd, void* buffer, size_t size) {
  try {
    for (;;) {
      const ssize_t n = ::read(fd, buffer, size);
      if (n >= 0) return n;
      if (errno == EAGAIN || errno == EINTR) return -errno;  // everyday; not worth words
      if (errno != EIO) return report(failed(errno, with_reason("cannot read", errno)));
      const int result = handle_record(fd);
      if (result <= 0) return result;
    }
  } catch (const std::bad_alloc&) {
    return berth::client::report_out_of_memory();
  }
}

int berth_shutdown_write(int fd) {
  if (has_kernel_tls(fd)) send_close_notify(fd);
  if (::shutdown(fd, SHUT_WR) == 0) return 0;
  try {
    return report(failed(errno, with_reason("cannot shut the connection down", errno)));
  } catch (const std::bad_alloc&) {
    return berth::client::report_out_of_memory();
  }
}
