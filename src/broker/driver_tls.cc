// The driver's part that has to do with TLS: who makes a connection's records, once its handshake
// is done.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/driver.h"
#include "net/ktls.h"

namespace berth::broker {
namespace {

using pool::Handoff;

constexpr TlsCipher kAllCiphers[] = {TlsCipher::chacha20_poly1305, TlsCipher::aes_128_gcm,
                                     TlsCipher::aes_256_gcm};

bool has(const std::vector<TlsCipher>& ciphers, TlsCipher wanted) {
  return std::find(ciphers.begin(), ciphers.end(), wanted) != ciphers.end();
}

// The kernel's first, if records may be its business; of ours ChaCha20 is the fastest.
std::vector<TlsCipher> ciphers_for(Handoff handoff, const std::vector<TlsCipher>& kernels) {
  std::vector<TlsCipher> order;
  if (handoff != Handoff::relay) order = kernels;
  if (handoff == Handoff::ktls && !kernels.empty()) return order;
  for (const TlsCipher cipher : kAllCiphers) {
    if (!has(order, cipher)) order.push_back(cipher);
  }
  return order;
}

}  // namespace

const net::KtlsSupport& PoolDriver::ktls() {
  if (!ktls_) ktls_ = net::probe_ktls();
  return *ktls_;
}

// A pool whose settings of TLS are what they were keeps its sessions.
std::shared_ptr<wire::TlsSource> PoolDriver::tls_of(const pool::PoolPolicy& policy,
                                                    std::shared_ptr<wire::TlsSource> former) {
  if (!policy.uses_tls() || policy.carries_channels()) return nullptr;
  const bool for_kernel = policy.handoff != Handoff::relay;
  if (policy.handoff == Handoff::ktls && ktls().ciphers.empty()) {
    log().error("pool {}: handoff = \"ktls\": {}", policy.key, ktls().why_not);
  }
  std::vector<TlsCipher> ciphers =
      ciphers_for(policy.handoff, for_kernel ? ktls().ciphers : std::vector<TlsCipher>());
  if (former != nullptr && former->settings() == policy.tls && former->ciphers() == ciphers) {
    return former;
  }
  return std::make_shared<wire::TlsSource>(policy.tls, std::move(ciphers));
}

std::shared_ptr<wire::Exchange> PoolDriver::begin_handshake(const pool::Connection& connection) {
  const pool::Pool& pool = depot_.pool(connection.pool);
  const Endpoint& endpoint = pool.endpoints()[connection.endpoint].endpoint;
  Upstream& upstream = *upstreams_.find(connection.id);
  upstream.handshake = std::make_shared<wire::TlsHandshake>(
      upstream.tls_source, endpoint.url(), pool.policy().certificate_name(endpoint));
  return upstream.handshake;
}

// The handshake is done. Says who makes the records from now on, or why nobody can.
absl::Status PoolDriver::begin_records(ConnectionId id) {
  Upstream& upstream = *upstreams_.find(id);
  std::unique_ptr<wire::TlsEngine> engine =
      std::exchange(upstream.handshake, nullptr)->take_engine();
  tell_of_files(id);
  const Handoff handoff = depot_.pool(depot_.connection(id)->pool).policy().handoff;
  if (handoff != Handoff::relay) {
    const absl::StatusOr<bool> kernels = give_to_kernel(upstream, *engine);
    if (!kernels.ok()) return kernels.status();
    if (*kernels) return absl::OkStatus();
    if (handoff == Handoff::ktls) return absl::UnavailableError(why_not_kernels(*engine));
  }
  upstream.tls = std::make_unique<net::TlsStream>(upstream.fd.get(), std::move(engine));
  depot_.carry(id);
  return absl::OkStatus();
}

void PoolDriver::tell_of_files(ConnectionId id) {
  const std::string complaint = upstreams_.find(id)->tls_source->take_complaint();
  if (!complaint.empty()) log().error("pool {}: {}", key_of(id), complaint);
}

// False: it cannot be the kernel's. After an error the socket is of no use.
absl::StatusOr<bool> PoolDriver::give_to_kernel(Upstream& upstream, const wire::TlsEngine& engine) {
  if (!has(ktls().ciphers, engine.cipher())) return false;
  const std::optional<wire::TlsKeys> keys = engine.keys();
  if (!keys) return false;
  const absl::Status installed = net::install_keys(upstream.fd.get(), *keys);
  if (!installed.ok()) return installed;
  upstream.layer = net::Layer::kernel_tls;
  return true;
}

// What a release inspection sees of them; the socket is looked at besides.
pool::Condition PoolDriver::inspect_records(ConnectionId id, Upstream& upstream) {
  net::TlsStream& tls = *upstream.tls;
  const bool sound = tls.flush();
  if (sound && tls.keeps()) return pool::Condition::unsent;
  const net::Peek peek = sound ? tls.peek() : net::Peek::closed;
  if (peek == net::Peek::clean) return pool::Condition::clean;
  log().info("pool {}: a connection came back dirty: {}", key_of(id),
             peek == net::Peek::has_data ? "unread data"
             : tls.why().empty()         ? "closed by the server"
                                         : tls.why());
  return pool::Condition::dirty;
}

// Whoever had the socket may be within a send(2). False: it is to be closed without a word.
bool PoolDriver::take_leave(Upstream& upstream) {
  if (!depot_.reserve_slots(1)) return false;
  if (farewells_.say(upstream.fd)) return true;
  depot_.release_slots(loop_.now(), 1, actions_);
  return false;
}

std::string PoolDriver::why_not_kernels(const wire::TlsEngine& engine) {
  const std::string why = has(ktls().ciphers, engine.cipher())
                              ? "the server has sent more than its handshake already"
                              : ktls().why_not;
  return "handoff = \"ktls\": " + why;
}

}  // namespace berth::broker
