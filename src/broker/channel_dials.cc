#include "broker/channel_dials.h"

#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/dial_options.h"
#include "net/address.h"
#include "net/pin.h"

namespace berth::broker {
namespace {

// Of what berthd encrypts itself the first is the fastest.
const std::vector<TlsCipher> kCiphers = {TlsCipher::chacha20_poly1305, TlsCipher::aes_128_gcm,
                                         TlsCipher::aes_256_gcm};
constexpr const char* kHttp2 = "h2";  // RFC 9113, section 3.2

Question question_of(const Endpoint& endpoint, const pool::PoolPolicy& policy) {
  return {endpoint, policy.resolver, policy.dns_refresh, /*in_turn=*/false};
}

// What Dialed::peer.text() made of it.
absl::StatusOr<Endpoint> endpoint_of(const std::string& address) {
  std::variant<Endpoint, std::string> parsed = parse_endpoint("tcp://" + address);
  if (const auto* error = std::get_if<std::string>(&parsed)) {
    return absl::InvalidArgumentError(address + ": " + *error);
  }
  return std::get<Endpoint>(parsed);
}

}  // namespace

ChannelDials::ChannelDials(loop::Loop& loop, Resolver& resolver, Slots slots, Callback callback,
                           bool pin)
    : loop_(loop),
      resolver_(resolver),
      slots_(std::move(slots)),
      callback_(std::move(callback)),
      pin_(pin),
      dialer_(
          loop, resolver,
          {[this] { return slots_.reserve(1); }, [this](uint32_t count) { slots_.release(count); }},
          [this](ConnectionId id, absl::StatusOr<Dialed> result) {
            connected(id, std::move(result));
          }),
      dialogues_(
          loop,
          [this](ConnectionId id, Talk talk, const std::string& why) { talked(id, talk, why); },
          {[this] { return slots_.reserve(1); }, [this] { slots_.release(1); }}),
      commands_(
          loop, {slots_.could_reserve, slots_.reserve, slots_.release},
          [this](ConnectionId id, absl::StatusOr<Dialed> result) {
            connected(id, std::move(result));
          },
          [](ConnectionId, Talk, const std::string&) {}) {}

// A pool whose settings of TLS are what they were keeps its sessions.
void ChannelDials::set_pool(PoolId id, const pool::PoolPolicy& policy) {
  auto pool = std::make_shared<Pool>();
  pool->policy = policy;
  pool->options = dial_options_of(policy, pin_);
  if (policy.via) {
    pool->unpinned = dial_options_of(policy, false);
    pool->proxy =
        std::make_shared<const wire::ProxyAccess>(*policy.via, policy.via_password.secret);
  }
  if (policy.uses_tls()) {
    const auto former = pools_.find(id);
    const bool same = former != pools_.end() && former->second->tls != nullptr &&
                      former->second->tls->settings() == policy.tls;
    pool->tls =
        same ? former->second->tls : std::make_shared<wire::TlsSource>(policy.tls, kCiphers);
  }
  pools_[id] = std::move(pool);
}

// ---- addresses ----

void ChannelDials::resolve(PoolId id, uint32_t index, Found found) {
  const std::shared_ptr<const Pool> pool = pools_.at(id);
  const Endpoint& endpoint = pool->policy.endpoints[index];
  const bool elsewhere =
      pool->policy.proxy_to(endpoint) != nullptr || !pool->policy.dial_command.empty();
  if (elsewhere || net::literal_address(endpoint)) return found({{{endpoint.address()}}});
  const Question question = question_of(endpoint, pool->policy);
  resolver_.distrust(question);  // the policy asks when it wants to know, and not more often
  resolver_.ask(question, [found = std::move(found)](Resolver::Found answer) {
    if (!answer.ok()) return found(answer.status());
    std::vector<channel::Place> places;
    for (const net::Place& each : *answer) places.push_back({each.address.text(), each.priority});
    found(std::move(places));
  });
}

// ---- a dial ----

void ChannelDials::dial(ConnectionId id, PoolId pool, uint32_t endpoint,
                        const std::string& address) {
  if (!slots_.reserve(1)) {
    return callback_(id, absl::ResourceExhaustedError(address + ": no file descriptor is left"));
  }
  Dial& dial = dials_[id];
  dial.pool = pools_.at(pool);
  const pool::PoolPolicy& policy = dial.pool->policy;
  dial.endpoint = policy.endpoints[endpoint];
  if (!policy.dial_command.empty()) {
    return commands_.dial(id, {policy.dial_command, policy.key, dial.endpoint, kNever},
                          dial.pool->options);
  }
  if (const Proxy* proxy = proxy_of(dial)) {
    return dialer_.dial(id, question_of(proxy->server, policy), dial.pool->unpinned);
  }
  const absl::StatusOr<Endpoint> where = endpoint_of(address);
  if (!where.ok()) return finish(id, where.status());
  dialer_.dial(id, question_of(*where, policy), dial.pool->options);
}

void ChannelDials::abandon(ConnectionId id) {
  if (!dials_.contains(id)) return;
  dialer_.abandon(id);
  dialogues_.abandon(id);
  commands_.abandon(id);
  dials_.erase(id);
  slots_.release(1);
}

void ChannelDials::connected(ConnectionId id, absl::StatusOr<Dialed> result) {
  Dial& dial = dials_.at(id);
  const Proxy* proxy = proxy_of(dial);
  absl::Status status = result.status();
  if (status.ok() && proxy != nullptr && pin_) {
    status = net::pin_connected(result->fd.get(), result->peer);
  }
  if (!status.ok()) {
    const std::string who = proxy != nullptr ? proxy->name() + ": " : "";
    return finish(id, absl::UnavailableError(who + text_of(status)));
  }
  dial.fd = std::move(result->fd);
  if (proxy != nullptr) return through_proxy(id);
  start_tls(id);
}

void ChannelDials::through_proxy(ConnectionId id) {
  Dial& dial = dials_.at(id);
  dialogues_.begin(id, Talk::proxy, {dial.fd.get()},
                   wire::proxy_handshake(dial.pool->proxy, dial.endpoint), kNever);
}

void ChannelDials::start_tls(ConnectionId id) {
  Dial& dial = dials_.at(id);
  if (dial.pool->tls == nullptr) return finish(id, Opened{std::move(dial.fd), nullptr});
  dial.handshake = std::make_shared<wire::TlsHandshake>(
      dial.pool->tls, dial.endpoint.url(), dial.pool->policy.certificate_name(dial.endpoint));
  dialogues_.begin(id, Talk::tls, {dial.fd.get()}, dial.handshake, kNever);
}

void ChannelDials::talked(ConnectionId id, Talk talk, const std::string& why) {
  if (!why.empty()) return finish(id, absl::UnavailableError(why));
  if (talk == Talk::proxy) return start_tls(id);
  take_tls(id);
}

void ChannelDials::take_tls(ConnectionId id) {
  Dial& dial = dials_.at(id);
  if (const std::string complaint = dial.pool->tls->take_complaint(); !complaint.empty()) {
    log().error("pool {}: {}", dial.pool->policy.key, complaint);
  }
  std::unique_ptr<wire::TlsEngine> engine = dial.handshake->take_engine();
  if (engine->alpn() != kHttp2) {
    return finish(id, absl::UnavailableError(
                          dial.endpoint.url() +
                          ": the server does not speak HTTP/2: it did not choose \"h2\" (ALPN)"));
  }
  const int fd = dial.fd.get();
  finish(id, Opened{std::move(dial.fd), std::make_unique<net::TlsStream>(fd, std::move(engine))});
}

void ChannelDials::finish(ConnectionId id, absl::StatusOr<Opened> result) {
  dials_.erase(id);
  if (!result.ok()) slots_.release(1);
  callback_(id, std::move(result));
}

}  // namespace berth::broker
