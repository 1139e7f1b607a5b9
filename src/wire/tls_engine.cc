#include "wire/tls_engine.h"

#include <arpa/inet.h>
#include <mbedtls/oid.h>
#include <mbedtls/ssl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "wire/shown.h"
#include "wire/tls_alert.h"
#include "wire/tls_certificate.h"
#include "wire/tls_context.h"
#include "wire/tls_internals.h"
#include "wire/tls_ticket.h"

namespace berth::wire {
namespace {

constexpr size_t kMaxInput = 4 * kMaxTlsRecordBytes;
// Beyond the records that it writes for us, mbedTLS adds alerts to a peer that asks again and again
// for a renegotiation; such a peer is no longer answered.
constexpr size_t kMaxOutput = 4 * kMaxTlsRecordBytes;

// Types of records: RFC 5246, section 6.2.1.
constexpr unsigned char kLeastType = 20;
constexpr unsigned char kMostType = 23;
constexpr unsigned char kAlertType = 21;

// Bytes on their way. An empty one has no memory: most connections are idle.
class Bytes {
 public:
  std::string_view view() const { return std::string_view(bytes_).substr(begin_); }
  void append(std::string_view more) { bytes_ += more; }
  void drop(size_t size) {
    BERTH_CHECK(size <= bytes_.size() - begin_, "no more is taken than there is");
    begin_ += size;
    if (begin_ == bytes_.size()) clear();
  }
  void clear() {
    std::string().swap(bytes_);
    begin_ = 0;
  }
  // So that dropping and appending in turn does not let it grow.
  void compact() { bytes_.erase(0, std::exchange(begin_, 0)); }

 private:
  std::string bytes_;
  size_t begin_ = 0;
};

// The usual form of an address, or "".
std::string address_of(const std::string& name) {
  unsigned char bytes[16];
  char text[INET6_ADDRSTRLEN];
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, name.c_str(), bytes) == 1) {
      return inet_ntop(family, bytes, text, sizeof text);
    }
  }
  return {};
}

// What mbedTLS only looks at when it has nobody left to tell.
uint32_t faults_of_use(const mbedtls_ssl_config& config, const mbedtls_x509_crt& certificate) {
  uint32_t flags = 0;
  if (!mbed::is_on_offered_curve(config, certificate.pk)) flags |= MBEDTLS_X509_BADCERT_BAD_KEY;
  if (mbedtls_x509_crt_check_key_usage(&certificate, MBEDTLS_X509_KU_DIGITAL_SIGNATURE) != 0) {
    flags |= MBEDTLS_X509_BADCERT_KEY_USAGE;
  }
  if (mbedtls_x509_crt_check_extended_key_usage(&certificate, MBEDTLS_OID_SERVER_AUTH,
                                                MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH)) != 0) {
    flags |= MBEDTLS_X509_BADCERT_EXT_KEY_USAGE;
  }
  return flags;
}

unsigned char alert_for(int error) {
  switch (error) {
    case MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE: return MBEDTLS_SSL_ALERT_MSG_UNEXPECTED_MESSAGE;
    case MBEDTLS_ERR_SSL_INVALID_MAC: return MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_SSL_INTERNAL_ERROR: return MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR;
    default: return MBEDTLS_SSL_ALERT_MSG_DECODE_ERROR;
  }
}

}  // namespace

class TlsEngine::State {
 public:
  State(std::shared_ptr<const TlsContext> context, const std::string& name,
        std::shared_ptr<const TlsSource::Ticket> resume);
  ~State() { mbedtls_ssl_free(&ssl_); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  size_t feed(std::string_view encrypted);
  void end() { ended_ = true; }
  std::string_view to_send() const { return out_.view(); }
  void sent(size_t size) { out_.drop(size); }
  Shake shake_hands();
  TlsCipher cipher() const { return keys_.cipher; }
  const std::string& alpn() const { return alpn_; }
  bool resumed() const { return resumed_; }
  std::shared_ptr<const TlsSource::Ticket> ticket() const;
  std::optional<TlsKeys> keys() const;
  Read read(std::span<char> plain, std::string_view& encrypted);
  bool holds_input() const;
  size_t write(std::string_view plain);
  void close();
  const std::string& why() const { return why_; }

  void require_shaken() const {
    BERTH_CHECK(stage_ != Stage::shaking, "the handshake is done first");
  }

 private:
  enum class Stage {
    shaking,
    open,
    closed,   // by the peer's close_notify
    cut_off,  // without one
    failed,
  };

  static int receive(void* self, unsigned char* out, size_t size);
  static int send(void* self, const unsigned char* bytes, size_t size);
  static int judge(void* self, mbedtls_x509_crt* certificate, int depth, uint32_t* flags);
  void judge_first(const mbedtls_x509_crt& certificate, uint32_t& flags) const;

  bool has_certificate() const { return !context_->settings().certificate.empty(); }
  bool is_no_tls() const;
  void finish_handshake();
  std::string why_no_handshake(int error) const;
  std::string why_cut_off() const;
  void fail(std::string why);
  void fail_and_alert(std::string why, int error);

  const std::shared_ptr<const TlsContext> context_;
  const std::string name_;
  const std::string address_;  // the name as one; "" if it is none
  const std::shared_ptr<const TlsSource::Ticket> resume_;
  mbedtls_ssl_context ssl_;
  Stage stage_ = Stage::shaking;
  Bytes in_;
  std::string_view* lent_ = nullptr;  // read on in, during read()
  Bytes out_;
  std::string first_;     // bytes that came, as long as it may not be TLS
  bool ended_ = false;    // the socket has
  bool starved_ = false;  // mbedTLS has found nothing more to read
  bool alerted_ = false;  // the last record that it has sent is an alert
  bool said_close_ = false;
  bool resumed_ = true;              // unless a certificate comes
  std::vector<std::string> faults_;  // of certificates, the server's first
  TlsKeys keys_;
  std::string alpn_;
  std::string why_;
};

TlsEngine::State::State(std::shared_ptr<const TlsContext> context, const std::string& name,
                        std::shared_ptr<const TlsSource::Ticket> resume)
    : context_(std::move(context)),
      name_(name.ends_with('.') ? name.substr(0, name.size() - 1) : name),
      address_(address_of(name_)),
      resume_(resume != nullptr && resume->is_good_for(context_, name_) ? std::move(resume)
                                                                        : nullptr) {
  BERTH_CHECK(!name_.empty(), "a server has a name or an address");
  mbedtls_ssl_init(&ssl_);
  BERTH_CHECK(mbedtls_ssl_setup(&ssl_, &context_->config()) == 0, "there is memory for TLS");
  mbedtls_ssl_set_bio(&ssl_, this, send, receive, nullptr);
  mbedtls_ssl_set_verify(&ssl_, judge, this);
  if (address_.empty() && mbedtls_ssl_set_hostname(&ssl_, name_.c_str()) != 0) {
    fail("the server's name is longer than a name may be");
  }
  if (resume_ == nullptr) return;
  BERTH_CHECK(mbedtls_ssl_set_session(&ssl_, &resume_->session()) == 0, "there is memory for TLS");
}

// ---- what mbedTLS calls ----

int TlsEngine::State::receive(void* self, unsigned char* out, size_t size) {
  auto& engine = *static_cast<State*>(self);
  const bool lent = engine.in_.view().empty() && engine.lent_ != nullptr;
  const std::string_view bytes = (lent ? *engine.lent_ : engine.in_.view()).substr(0, size);
  engine.starved_ = bytes.empty();
  if (bytes.empty()) return MBEDTLS_ERR_SSL_WANT_READ;
  std::memcpy(out, bytes.data(), bytes.size());
  if (lent) {
    engine.lent_->remove_prefix(bytes.size());
  } else {
    engine.in_.drop(bytes.size());
  }
  return static_cast<int>(bytes.size());
}

// Always takes all: of a record that it could not send at once, mbedTLS takes the rest for another.
int TlsEngine::State::send(void* self, const unsigned char* bytes, size_t size) {
  auto& engine = *static_cast<State*>(self);
  if (engine.out_.view().size() > kMaxOutput) return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
  engine.out_.append({reinterpret_cast<const char*>(bytes), size});
  engine.alerted_ = bytes[0] == kAlertType;
  return static_cast<int>(size);
}

// From the authority's certificate down to the server's.
int TlsEngine::State::judge(void* self, mbedtls_x509_crt* certificate, int depth, uint32_t* flags) {
  auto& engine = *static_cast<State*>(self);
  if (depth == 0) engine.judge_first(*certificate, *flags);
  if (*flags == 0) return 0;
  engine.faults_.insert(engine.faults_.begin(), fault_of(*certificate, depth, *flags, engine.name_,
                                                         engine.context_->settings().ca));
  return 0;
}

void TlsEngine::State::judge_first(const mbedtls_x509_crt& certificate, uint32_t& flags) const {
  flags |= faults_of_use(context_->config(), certificate);
  if (context_->settings().verify != TlsVerify::full) {
    flags &= ~uint32_t{MBEDTLS_X509_BADCERT_CN_MISMATCH};
  } else if (!address_.empty()) {
    const std::vector<std::string> addresses = mbed::addresses_of(certificate);
    const bool found = std::find(addresses.begin(), addresses.end(), address_) != addresses.end();
    if (!found) flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
  }
}

// ---- bytes of the socket ----

size_t TlsEngine::State::feed(std::string_view encrypted) {
  if (stage_ != Stage::shaking && stage_ != Stage::open) return encrypted.size();
  const size_t room = kMaxInput - std::min(kMaxInput, in_.view().size());
  const std::string_view taken = encrypted.substr(0, room);
  if (stage_ == Stage::shaking && first_.size() <= kMaxStepBytesShown) {
    first_ += taken.substr(0, kMaxStepBytesShown + 1 - first_.size());
  }
  in_.compact();
  in_.append(taken);
  return taken.size();
}

// ---- the handshake ----

// A server of another protocol, or one that is not asked to start TLS before.
bool TlsEngine::State::is_no_tls() const {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(first_[at]); };
  if (!first_.empty() && (byte(0) < kLeastType || byte(0) > kMostType)) return true;
  return first_.size() > 1 && byte(1) != MBEDTLS_SSL_MAJOR_VERSION_3;
}

TlsEngine::Shake TlsEngine::State::shake_hands() {
  if (stage_ == Stage::failed) return Shake::failed;
  if (stage_ != Stage::shaking) return Shake::done;
  if (is_no_tls()) {
    fail("the server does not speak TLS, but says " + shown(first_, Part::first, {}));
    return Shake::failed;
  }
  int error = 0;
  {
    const mbed::KeyCatcher catcher(keys_);
    while (error == 0 && !mbed::has_shaken_hands(ssl_)) {
      if (mbed::awaits_certificate(ssl_)) resumed_ = false;
      error = mbedtls_ssl_handshake_step(&ssl_);
    }
  }
  if (error == 0) {
    finish_handshake();
    return Shake::done;
  }
  if (error == MBEDTLS_ERR_SSL_WANT_READ) {
    if (!ended_) return Shake::goes_on;
    fail(why_cut_off());
  } else {
    fail_and_alert(why_no_handshake(error), error);
  }
  return Shake::failed;
}

void TlsEngine::State::finish_handshake() {
  stage_ = Stage::open;
  keys_.cipher = cipher_of_suite(mbed::suite_of(ssl_));
  if (const char* protocol = mbedtls_ssl_get_alpn_protocol(&ssl_)) alpn_ = protocol;
  std::string().swap(first_);
}

std::string TlsEngine::State::why_cut_off() const {
  if (!first_.empty()) {
    return "the server closed the connection in the middle of the handshake" +
           hint_of_end(has_certificate(), mbed::asked_for_certificate(ssl_));
  }
  return "the server closed the connection instead of answering the handshake; perhaps it does not "
         "speak TLS";
}

std::string TlsEngine::State::why_no_handshake(int error) const {
  if (error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
    const int alert = mbed::received_alert(ssl_);
    return "the server sent the alert " + name_of_alert(alert) +
           hint_of_alert(alert, has_certificate(), mbed::asked_for_certificate(ssl_));
  }
  if (error == MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION) {
    return "the server speaks no newer version than TLS 1." +
           std::to_string(std::max(0, mbed::minor_version(ssl_) - 1)) + ", and berth TLS 1.2";
  }
  if (!faults_.empty()) {
    return faults_.size() == 1 ? faults_[0] : faults_[0] + "; and " + faults_[1];
  }
  if (mbed::awaits_certificate(ssl_)) {
    if (std::string text = mbed::describe_unparsed_certificate(ssl_); !text.empty()) return text;
  }
  return "the server's handshake is not right: " + words_of_error(error);
}

void TlsEngine::State::fail(std::string why) {
  stage_ = Stage::failed;
  why_ = std::move(why);
  in_.clear();
}

void TlsEngine::State::fail_and_alert(std::string why, int error) {
  if (error != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE && !alerted_) {
    mbedtls_ssl_send_alert_message(&ssl_, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert_for(error));
  }
  fail(std::move(why));
}

// ---- once it is done ----

std::shared_ptr<const TlsSource::Ticket> TlsEngine::State::ticket() const {
  auto ticket = std::make_shared<TlsSource::Ticket>(context_, name_);
  mbedtls_ssl_session& session = ticket->session();
  if (mbedtls_ssl_get_session(&ssl_, &session) != 0) return nullptr;
  // What the server has not taken, mbedTLS keeps beside a session that it does not belong to.
  if (!resumed_ && resume_ != nullptr &&
      mbed::ticket_of(session) == mbed::ticket_of(resume_->session())) {
    mbed::drop_ticket(session);
  }
  if (mbed::ticket_of(session).empty() && !mbed::has_id(session)) return nullptr;
  return ticket;
}

std::optional<TlsKeys> TlsEngine::State::keys() const {
  if (stage_ != Stage::open || said_close_ || holds_input() || !out_.view().empty()) {
    return std::nullopt;
  }
  TlsKeys keys = keys_;
  mbed::read_sequences(ssl_, keys);
  return keys;
}

TlsEngine::Read TlsEngine::State::read(std::span<char> plain, std::string_view& encrypted) {
  if (stage_ == Stage::closed) return {Got::closed};
  if (stage_ == Stage::cut_off) return {Got::cut_off};
  if (stage_ == Stage::failed) return {Got::failed};
  if (plain.empty()) return {Got::nothing};
  alerted_ = false;
  int size = 0;
  lent_ = &encrypted;
  do {  // what brings no bytes, such as an empty record, is passed over
    size = mbedtls_ssl_read(&ssl_, reinterpret_cast<unsigned char*>(plain.data()), plain.size());
  } while (size == 0 || (size == MBEDTLS_ERR_SSL_WANT_READ && !starved_));
  lent_ = nullptr;
  if (size > 0) return {Got::bytes, static_cast<size_t>(size)};
  switch (size) {
    case MBEDTLS_ERR_SSL_WANT_READ:
      if (!ended_) return {Got::nothing};
      stage_ = Stage::cut_off;
      in_.clear();
      return {Got::cut_off};
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
      stage_ = Stage::closed;
      in_.clear();
      return {Got::closed};
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
      fail("the server sent the alert " + name_of_alert(mbed::received_alert(ssl_)));
      return {Got::failed};
    case MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL:
      fail("the server asks again and again for a renegotiation");
      return {Got::failed};
    default:
      fail_and_alert("the server sent a record that is not right: " + words_of_error(size), size);
      return {Got::failed};
  }
}

bool TlsEngine::State::holds_input() const {
  if (stage_ != Stage::shaking && stage_ != Stage::open) return false;
  return !in_.view().empty() || mbed::holds_input(ssl_);
}

size_t TlsEngine::State::write(std::string_view plain) {
  const bool may = stage_ == Stage::open || stage_ == Stage::closed;
  if (!may || said_close_ || plain.empty() || out_.view().size() > kMaxTlsRecordBytes) return 0;
  out_.compact();
  const int size =
      mbedtls_ssl_write(&ssl_, reinterpret_cast<const unsigned char*>(plain.data()), plain.size());
  if (size > 0) return static_cast<size_t>(size);
  fail("what is to be sent cannot be encrypted: " + words_of_error(size));
  return 0;
}

void TlsEngine::State::close() {
  const bool may = stage_ == Stage::open || stage_ == Stage::closed;
  if (!may || std::exchange(said_close_, true)) return;
  mbedtls_ssl_close_notify(&ssl_);
}

// ---- the engine ----

TlsEngine::TlsEngine(std::shared_ptr<const TlsContext> context, const std::string& name,
                     std::shared_ptr<const TlsSource::Ticket> resume)
    : state_(std::make_unique<State>(std::move(context), name, std::move(resume))) {}
TlsEngine::~TlsEngine() = default;

size_t TlsEngine::feed(std::string_view encrypted) {
  return state_->feed(encrypted);
}
void TlsEngine::end() {
  state_->end();
}
std::string_view TlsEngine::to_send() const {
  return state_->to_send();
}
void TlsEngine::sent(size_t size) {
  state_->sent(size);
}
TlsEngine::Shake TlsEngine::shake_hands() {
  return state_->shake_hands();
}
const std::string& TlsEngine::why() const {
  return state_->why();
}

TlsCipher TlsEngine::cipher() const {
  state_->require_shaken();
  return state_->cipher();
}

const std::string& TlsEngine::alpn() const {
  state_->require_shaken();
  return state_->alpn();
}

bool TlsEngine::resumed() const {
  state_->require_shaken();
  return state_->resumed();
}

std::shared_ptr<const TlsSource::Ticket> TlsEngine::ticket() const {
  state_->require_shaken();
  return state_->ticket();
}

std::optional<TlsKeys> TlsEngine::keys() const {
  state_->require_shaken();
  return state_->keys();
}

TlsEngine::Read TlsEngine::read(std::span<char> plain) {
  std::string_view none;
  return read(plain, none);
}

TlsEngine::Read TlsEngine::read(std::span<char> plain, std::string_view& encrypted) {
  state_->require_shaken();
  return state_->read(plain, encrypted);
}

bool TlsEngine::holds_input() const {
  return state_->holds_input();
}

size_t TlsEngine::write(std::string_view plain) {
  state_->require_shaken();
  return state_->write(plain);
}

void TlsEngine::close() {
  state_->close();
}

}  // namespace berth::wire
