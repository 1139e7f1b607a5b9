#include "wire/tls_internals.h"

#include <arpa/inet.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/rsa.h>
#include <mbedtls/version.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <mutex>
#include <span>

#include "base/check.h"
#include "wire/tls_certificate.h"

static_assert(MBEDTLS_VERSION_MAJOR == 2 && MBEDTLS_VERSION_MINOR == 28,
              "this file knows mbedTLS 2.28");

namespace berth::wire::mbed {
namespace {

thread_local TlsKeys* caught = nullptr;

constexpr size_t kGcmSaltBytes = 4;

// RFC 5246, section 6.3. AEAD suites have no MAC keys.
int take_keys(void*, const unsigned char*, const unsigned char* block, size_t mac_size,
              size_t key_size, size_t iv_size, const unsigned char[32], const unsigned char[32],
              mbedtls_tls_prf_types) {
  BERTH_CHECK(caught != nullptr, "handshakes are made while their keys are caught");
  BERTH_CHECK(mac_size == 0 && key_size <= caught->send.key.size() &&
                  (iv_size == kGcmSaltBytes || iv_size == caught->send.iv.size()),
              "only AEAD suites are offered");
  const unsigned char* ivs = block + 2 * key_size;
  std::copy_n(block, key_size, caught->send.key.begin());
  std::copy_n(block + key_size, key_size, caught->receive.key.begin());
  std::copy_n(ivs, iv_size, caught->send.iv.begin());
  std::copy_n(ivs + iv_size, iv_size, caught->receive.iv.begin());
  return 0;
}

// A curve with the table of multiples of its base point.
class Curve {
 public:
  explicit Curve(mbedtls_ecp_group_id id) {
    mbedtls_ecp_point point;
    mbedtls_mpi two;
    mbedtls_ecp_group_init(&group_);
    mbedtls_ecp_point_init(&point);
    mbedtls_mpi_init(&two);
    const auto no_random = [](void*, unsigned char* out, size_t size) {
      std::fill_n(out, size, 1);  // what is computed is no secret
      return 0;
    };
    const bool good = mbedtls_ecp_group_load(&group_, id) == 0 && mbedtls_mpi_lset(&two, 2) == 0 &&
                      mbedtls_ecp_mul(&group_, &point, &two, &group_.G, no_random, nullptr) == 0;
    BERTH_CHECK(good, "a curve that is known can be computed with");
    mbedtls_mpi_free(&two);
    mbedtls_ecp_point_free(&point);
  }
  ~Curve() { mbedtls_ecp_group_free(&group_); }
  Curve(const Curve&) = delete;
  Curve& operator=(const Curve&) = delete;

  const mbedtls_ecp_group& group() const { return group_; }

 private:
  mbedtls_ecp_group group_;
};

// Computed once, for all keys on it.
const mbedtls_ecp_group& computed(mbedtls_ecp_group_id id) {
  static std::mutex mutex;
  static std::map<mbedtls_ecp_group_id, Curve> curves;
  const std::lock_guard lock(mutex);
  return curves.try_emplace(id, id).first->second.group();
}

void keep_out(const mbedtls_mpi& number) {
  if (number.p == nullptr) return;
  auto* const begin = reinterpret_cast<char*>(number.p);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t before = reinterpret_cast<uintptr_t>(begin) % page;
  madvise(begin - before, before + number.n * sizeof *number.p, MADV_DONTDUMP);
}

// Certificates of a Certificate message (RFC 5246, section 7.4.2), as far as they are whole.
std::vector<std::span<const unsigned char>> certificates_in(std::span<const unsigned char> body) {
  const auto number_at = [&](size_t at) {
    return size_t{body[at]} << 16 | size_t{body[at + 1]} << 8 | body[at + 2];
  };
  std::vector<std::span<const unsigned char>> found;
  for (size_t at = 3; at + 3 <= body.size();) {
    const size_t size = number_at(at);
    at += 3;
    if (size > body.size() - at) break;
    found.push_back(body.subspan(at, size));
    at += size;
  }
  return found;
}

// Lets every extension pass, and keeps the first critical one that mbedTLS does not know.
int take_extension(void* first, const mbedtls_x509_crt*, const mbedtls_x509_buf* oid, int critical,
                   const unsigned char*, const unsigned char*) {
  auto& text = *static_cast<std::string*>(first);
  char number[64];
  if (critical == 0 || !text.empty()) return 0;
  text = mbedtls_oid_get_numeric_string(number, sizeof number, oid) > 0 ? number : "?";
  return 0;
}

// Of the certificate that is the `number`-th in its message; "" if there is none.
std::string fault_of_parsing(std::span<const unsigned char> bytes, size_t number) {
  constexpr int kUnknownSignature = MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG + MBEDTLS_ERR_OID_NOT_FOUND;
  mbedtls_x509_crt parsed;
  mbedtls_x509_crt_init(&parsed);
  const int error = mbedtls_x509_crt_parse_der(&parsed, bytes.data(), bytes.size());
  mbedtls_x509_crt_free(&parsed);
  if (error == 0 || error == kUnknownSignature) return {};  // mbedTLS takes it
  std::string extension;
  const bool good = mbedtls_x509_crt_parse_der_with_ext_cb(&parsed, bytes.data(), bytes.size(), 1,
                                                           take_extension, &extension) == 0;
  const std::string subject = good ? subject_of(parsed) : std::string();
  mbedtls_x509_crt_free(&parsed);
  if (!extension.empty() && good) {
    return "the certificate " + subject + " has an extension that is marked as critical and not " +
           ("known (" + extension + ")");
  }
  return "certificate " + std::to_string(number) +
         " of those that the server has sent cannot be parsed: " + words_of_error(error);
}

}  // namespace

void export_keys(mbedtls_ssl_config& config) {
  mbedtls_ssl_conf_export_keys_ext_cb(&config, take_keys, nullptr);
}

KeyCatcher::KeyCatcher(TlsKeys& keys) {
  BERTH_CHECK(caught == nullptr, "a thread makes one handshake at a time");
  caught = &keys;
}

KeyCatcher::~KeyCatcher() {
  caught = nullptr;
}

void read_sequences(const mbedtls_ssl_context& ssl, TlsKeys& keys) {
  std::copy_n(ssl.cur_out_ctr, keys.send.sequence.size(), keys.send.sequence.begin());
  std::copy_n(ssl.in_ctr, keys.receive.sequence.size(), keys.receive.sequence.begin());
}

bool holds_input(const mbedtls_ssl_context& ssl) {
  return ssl.in_left != 0 || mbedtls_ssl_check_pending(&ssl) != 0;
}

bool has_shaken_hands(const mbedtls_ssl_context& ssl) {
  return ssl.state == MBEDTLS_SSL_HANDSHAKE_OVER;
}

bool awaits_certificate(const mbedtls_ssl_context& ssl) {
  return ssl.state == MBEDTLS_SSL_SERVER_CERTIFICATE;
}

bool asked_for_certificate(const mbedtls_ssl_context& ssl) {
  return ssl.client_auth != 0;
}

int suite_of(const mbedtls_ssl_context& ssl) {
  return ssl.session->ciphersuite;
}

int received_alert(const mbedtls_ssl_context& ssl) {
  return ssl.in_msg[1];
}

int minor_version(const mbedtls_ssl_context& ssl) {
  return ssl.minor_ver;
}

std::string describe_unparsed_certificate(const mbedtls_ssl_context& ssl) {
  constexpr size_t kHeader = 4;
  const std::span message(ssl.in_msg, std::min(ssl.in_hslen, ssl.in_msglen));
  if (message.size() < kHeader || message[0] != MBEDTLS_SSL_HS_CERTIFICATE) return {};
  size_t count = 0;
  for (const auto certificate : certificates_in(message.subspan(kHeader))) {
    std::string fault = fault_of_parsing(certificate, ++count);
    if (!fault.empty()) return fault;
  }
  return {};
}

std::vector<std::string> addresses_of(const mbedtls_x509_crt& certificate) {
  constexpr int kAddress = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7;  // RFC 5280, section 4.2.1.6
  std::vector<std::string> found;
  if ((certificate.ext_types & MBEDTLS_X509_EXT_SUBJECT_ALT_NAME) == 0) return found;
  for (const auto* name = &certificate.subject_alt_names; name != nullptr; name = name->next) {
    if (name->buf.tag != kAddress || (name->buf.len != 4 && name->buf.len != 16)) continue;
    char text[INET6_ADDRSTRLEN];
    inet_ntop(name->buf.len == 4 ? AF_INET : AF_INET6, name->buf.p, text, sizeof text);
    found.emplace_back(text);
  }
  return found;
}

bool is_on_offered_curve(const mbedtls_ssl_config& config, const mbedtls_pk_context& key) {
  if (mbedtls_pk_can_do(&key, MBEDTLS_PK_ECKEY) == 0) return true;
  const mbedtls_ecp_group_id* curve = config.curve_list;
  while (*curve != MBEDTLS_ECP_DP_NONE && *curve != mbedtls_pk_ec(key)->grp.id) ++curve;
  return *curve != MBEDTLS_ECP_DP_NONE;
}

void make_shareable(mbedtls_pk_context& key) {
  if (mbedtls_pk_can_do(&key, MBEDTLS_PK_ECKEY) == 0) return;
  mbedtls_ecp_group& group = mbedtls_pk_ec(key)->grp;
  if (group.T != nullptr || group.id == MBEDTLS_ECP_DP_NONE) return;
  const mbedtls_ecp_group& from = computed(group.id);
  if (from.T == nullptr) return;  // curves of the other kind have none
  auto* table = static_cast<mbedtls_ecp_point*>(mbedtls_calloc(from.T_size, sizeof *from.T));
  BERTH_CHECK(table != nullptr, "there is memory for a key");
  for (size_t i = 0; i < from.T_size; ++i) {
    mbedtls_ecp_point_init(&table[i]);
    BERTH_CHECK(mbedtls_ecp_copy(&table[i], &from.T[i]) == 0, "there is memory for a key");
  }
  group.T = table;
  group.T_size = from.T_size;
}

void keep_out_of_core_dumps(const mbedtls_pk_context& key) {
  if (mbedtls_pk_can_do(&key, MBEDTLS_PK_ECKEY) != 0) keep_out(mbedtls_pk_ec(key)->d);
  if (mbedtls_pk_can_do(&key, MBEDTLS_PK_RSA) == 0) return;
  const mbedtls_rsa_context& rsa = *mbedtls_pk_rsa(key);
  for (const mbedtls_mpi* part : {&rsa.D, &rsa.P, &rsa.Q, &rsa.DP, &rsa.DQ, &rsa.QP}) {
    keep_out(*part);
  }
}

std::string_view ticket_of(const mbedtls_ssl_session& session) {
  return {reinterpret_cast<const char*>(session.ticket), session.ticket_len};
}

bool has_id(const mbedtls_ssl_session& session) {
  return session.id_len != 0;
}

void drop_ticket(mbedtls_ssl_session& session) {
  mbedtls_platform_zeroize(session.ticket, session.ticket_len);
  mbedtls_free(session.ticket);
  session.ticket = nullptr;
  session.ticket_len = 0;
}

bool is_fresh(const mbedtls_ssl_session& session, int64_t seconds) {
  const int64_t age = std::time(nullptr) - session.start;
  return age >= 0 && age <= seconds &&
         (session.peer_cert == nullptr ||
          mbedtls_x509_time_is_past(&session.peer_cert->valid_to) == 0);
}

}  // namespace berth::wire::mbed
