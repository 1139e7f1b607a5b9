#include "broker/dns_client.h"

#include <absl/container/flat_hash_map.h>
#include <ares.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "loop/timer.h"
#include "loop/watch_set.h"
#include "net/dns_message.h"
#include "net/resolve.h"

namespace berth::broker {
namespace {

using net::Answer;
using net::SocketAddress;

// How long each name server is waited for, the second time twice as long; so that it is known
// within the default dial_timeout who did not answer. What resolv.conf says of it c-ares does not
// read.
constexpr int kFirstTimeoutMs = 1000;
constexpr int kTries = 2;

constexpr int kInternet = 1;  // class IN
constexpr int kSrv = 33;      // type SRV (RFC 2782)

// Which file it is, and of when: a rewritten one differs, and so does one that was put in its
// place.
using Version = std::tuple<dev_t, ino_t, off_t, time_t, long>;

Version version_of(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) return {};
  return {file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec};
}

std::string in_quotes(const std::string& name) {
  return "\"" + name + "\"";
}

Answer failure(std::string text) {
  Answer answer;
  answer.error = std::move(text);
  return answer;
}

std::string cannot_resolve(const std::string& name, int status) {
  return "cannot resolve " + in_quotes(name) + ": " + ares_strerror(status);
}

Duration seconds(int ttl) {
  return std::chrono::seconds(std::max(0, ttl));
}

SocketAddress copy(const ares_addrinfo_node& node) {
  SocketAddress address;
  std::memcpy(&address.storage, node.ai_addr, node.ai_addrlen);
  address.length = node.ai_addrlen;
  return address;
}

// What is known of a host so far.
struct Host {
  std::vector<SocketAddress> ipv6;
  std::vector<SocketAddress> ipv4;
  Duration ttl = Duration::max();
  bool complete = true;
  bool exists = false;
  int fault = ARES_SUCCESS;  // of a server that could not tell

  bool found() const { return !ipv6.empty() || !ipv4.empty(); }
};

void take(Host& host, const SocketAddress& address) {
  auto& family = address.family() == AF_INET6 ? host.ipv6 : host.ipv4;
  if (std::find(family.begin(), family.end(), address) != family.end()) return;
  if (family.size() == net::kMaxResolvedAddresses) {
    host.complete = false;
  } else {
    family.push_back(address);
  }
}

void take(Host& host, int status, const ares_addrinfo* found) {
  const bool told = status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND;
  host.complete = host.complete && told;
  host.exists = host.exists || status == ARES_SUCCESS || status == ARES_ENODATA;
  if (!told) host.fault = status;
  if (found == nullptr) return;
  for (const auto* alias = found->cnames; alias != nullptr; alias = alias->next) {
    host.ttl = std::min(host.ttl, seconds(alias->ttl));
  }
  for (const auto* node = found->nodes; node != nullptr; node = node->ai_next) {
    host.ttl = std::min(host.ttl, seconds(node->ai_ttl));
    take(host, copy(*node));
  }
}

Answer answer_of(Host host, const std::string& name) {
  if (!host.found() && host.fault != ARES_SUCCESS) return failure(cannot_resolve(name, host.fault));
  if (!host.found() && host.exists) return failure(in_quotes(name) + " resolves to no address");
  if (!host.found()) return failure(cannot_resolve(name, ARES_ENOTFOUND));
  while (host.ipv6.size() + host.ipv4.size() > net::kMaxResolvedAddresses) {
    (host.ipv6.size() > host.ipv4.size() ? host.ipv6 : host.ipv4).pop_back();
    host.complete = false;
  }
  const bool ipv6_first =
      host.ipv4.empty() || (!host.ipv6.empty() && net::has_route(host.ipv6.front()));
  std::vector<SocketAddress> all = ipv6_first ? host.ipv6 : host.ipv4;
  const auto& others = ipv6_first ? host.ipv4 : host.ipv6;
  all.insert(all.end(), others.begin(), others.end());
  return {{{0, 0, std::move(all)}}, host.complete, host.ttl, {}};
}

struct Record {
  uint16_t priority;
  uint16_t weight;
  uint16_t port;
  std::string host;  // "": the service is decidedly not offered
};

// By priority. Empty: they are no SRV records.
std::vector<Record> records_of(std::span<const uint8_t> message) {
  ares_srv_reply* list = nullptr;
  if (ares_parse_srv_reply(message.data(), static_cast<int>(message.size()), &list) !=
      ARES_SUCCESS) {
    return {};
  }
  std::vector<Record> records;
  for (const auto* each = list; each != nullptr; each = each->next) {
    records.push_back({each->priority, each->weight, each->port, each->host});
  }
  ares_free_data(list);
  std::stable_sort(records.begin(), records.end(),
                   [](const Record& a, const Record& b) { return a.priority < b.priority; });
  return records;
}

// A service whose hosts are asked for.
struct Service {
  std::vector<Record> records;
  std::vector<Answer> answers;  // of their hosts
  size_t left;
  Duration ttl;
  bool complete;
  DnsClient::Done done;
};

Answer answer_of(Service& service) {
  Answer all{{}, service.complete, service.ttl, {}};
  size_t room = net::kMaxResolvedAddresses;
  for (size_t i = 0; i < service.records.size(); ++i) {
    Answer& host = service.answers[i];
    all.complete = all.complete && host.good() && host.complete;
    if (!host.good()) continue;
    std::vector<SocketAddress>& addresses = host.targets[0].addresses;
    all.ttl = std::min(all.ttl, host.ttl);
    all.complete = all.complete && addresses.size() <= room;
    if (addresses.size() > room) addresses.resize(room);
    room -= addresses.size();
    if (addresses.empty()) continue;
    const Record& record = service.records[i];
    all.targets.push_back({record.priority, record.weight, std::move(addresses)});
  }
  return all.targets.empty() ? failure(service.answers.front().error) : all;
}

}  // namespace

// One c-ares channel and what it waits for.
class DnsClient::Channel {
 public:
  using HostDone = std::function<void(int status, const ares_addrinfo* found)>;
  using RecordsDone = std::function<void(int status, std::span<const uint8_t> message)>;

  // `lookups`: "f" for hosts(5), "b" for name servers.
  Channel(loop::Loop& loop, const std::string& resolv_conf, const char* lookups)
      : version(version_of(resolv_conf)),
        loop_(loop),
        watch_(loop, [this](uint64_t tag, uint32_t events) { ready(tag, events); }),
        timer_(loop, [this] { process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }) {
    ares_options options{};
    options.sock_state_cb = socket_changed;
    options.sock_state_cb_data = this;
    options.lookups = const_cast<char*>(lookups);
    options.resolvconf_path = const_cast<char*>(resolv_conf.c_str());
    options.timeout = kFirstTimeoutMs;
    options.tries = kTries;
    const int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF |
                     ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    fault_ = ares_init_options(&channel_, &options, mask);
    if (fault_ != ARES_SUCCESS) channel_ = nullptr;
  }

  ~Channel() {
    if (channel_ != nullptr) ares_destroy(channel_);
  }

  // Nothing is under way, and c-ares is not calling.
  bool at_rest() const { return calls_ == 0 && entered_ == 0; }

  void ask_host(const std::string& name, int family, uint16_t port, HostDone done) {
    if (channel_ == nullptr) return done(fault_, nullptr);
    ares_addrinfo_hints hints{};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NUMERICSERV | ARES_AI_NOSORT;  // sorting takes sockets: one each
    const std::string service = std::to_string(port);
    enter([&] {
      ares_getaddrinfo(channel_, name.c_str(), service.c_str(), &hints, host_answered,
                       new HostCall{*this, std::move(done)});
    });
  }

  void ask_records(const std::string& name, RecordsDone done) {
    if (channel_ == nullptr) return done(fault_, {});
    enter([&] {
      ares_query(channel_, name.c_str(), kInternet, kSrv, records_answered,
                 new RecordsCall{*this, std::move(done)});
    });
  }

  const Version version;  // of resolv.conf

 private:
  // c-ares owns it until it calls back, which it does once.
  template <class Done>
  struct Call {
    Call(Channel& asked, Done then) : channel(asked), done(std::move(then)) { ++channel.calls_; }
    ~Call() { --channel.calls_; }
    Channel& channel;
    Done done;
  };
  using HostCall = Call<HostDone>;
  using RecordsCall = Call<RecordsDone>;

  static void host_answered(void* argument, int status, int, ares_addrinfo* found) {
    const std::unique_ptr<HostCall> call(static_cast<HostCall*>(argument));
    const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owned(found, ares_freeaddrinfo);
    if (status != ARES_EDESTRUCTION) call->done(status, found);
  }

  static void records_answered(void* argument, int status, int, unsigned char* bytes, int size) {
    const std::unique_ptr<RecordsCall> call(static_cast<RecordsCall*>(argument));
    if (status == ARES_EDESTRUCTION) return;
    call->done(status, {bytes, bytes != nullptr ? static_cast<size_t>(size) : 0});
  }

  static void socket_changed(void* self, ares_socket_t fd, int readable, int writable) {
    const uint32_t events = (readable != 0 ? EPOLLIN : 0u) | (writable != 0 ? EPOLLOUT : 0u);
    static_cast<Channel*>(self)->watch(fd, events);
  }

  // None: it is about to be closed.
  void watch(int fd, uint32_t events) {
    const auto at = watched_.find(fd);
    if (at != watched_.end() && at->second == events) return;
    if (at != watched_.end()) {
      watch_.remove(fd);
      watched_.erase(at);
    }
    // Where the kernel refuses, the question times out.
    if (events != 0 && watch_.add(fd, events, static_cast<uint64_t>(fd))) watched_[fd] = events;
  }

  // Of a descriptor that has been closed meanwhile c-ares knows nothing, or finds nothing to read.
  void ready(uint64_t tag, uint32_t events) {
    const auto fd = static_cast<ares_socket_t>(tag);
    process((events & ~uint32_t{EPOLLOUT}) != 0 ? fd : ARES_SOCKET_BAD,
            (events & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
  }

  void process(ares_socket_t readable, ares_socket_t writable) {
    enter([&] { ares_process_fd(channel_, readable, writable); });
  }

  template <class Body>
  void enter(Body&& body) {
    ++entered_;
    body();
    --entered_;
    timeval left{};
    const bool waits = ares_timeout(channel_, nullptr, &left) != nullptr;
    const Duration wait =
        std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
    timer_.arm(waits ? loop_.now() + wait : kNever);
  }

  loop::Loop& loop_;
  loop::WatchSet watch_;
  loop::Timer timer_;
  absl::flat_hash_map<int, uint32_t> watched_;
  ares_channel channel_ = nullptr;
  int fault_ = ARES_SUCCESS;  // why there is none
  size_t calls_ = 0;
  int entered_ = 0;
};

DnsClient::DnsClient(loop::Loop& loop, std::string resolv_conf)
    : loop_(loop), resolv_conf_(std::move(resolv_conf)) {}

DnsClient::~DnsClient() = default;

DnsClient::Channel& DnsClient::channel() {
  std::erase_if(old_, [](const auto& each) { return each->at_rest(); });
  const bool stale = current_ != nullptr && current_->version != version_of(resolv_conf_);
  if (current_ != nullptr && (!stale || old_.size() >= kMaxDnsChannels)) return *current_;
  if (stale) old_.push_back(std::move(current_));
  current_ = std::make_unique<Channel>(loop_, resolv_conf_, "b");
  return *current_;
}

void DnsClient::ask(const Endpoint& endpoint, Done done) {
  if (endpoint.is_service()) return ask_service(channel(), endpoint.host, std::move(done));
  ask_host(channel(), endpoint.host, endpoint.port, std::move(done));
}

// Each family by itself, to know which of them a server could not tell of.
void DnsClient::ask_host(Channel& channel, const std::string& host, uint16_t port, Done done) {
  if (hosts_ == nullptr) hosts_ = std::make_unique<Channel>(loop_, resolv_conf_, "f");
  Host listed;
  hosts_->ask_host(host, AF_UNSPEC, port, [&](int status, const ares_addrinfo* found) {
    take(listed, status, found);
    listed.ttl = Duration::max();  // a file has none
  });
  BERTH_CHECK(hosts_->at_rest(), "a file is read at once");
  if (listed.found()) return done(answer_of(std::move(listed), host));
  struct Both {
    Host host;
    int left = 2;
  };
  const auto both = std::make_shared<Both>();
  const auto answered = [both, host, done = std::move(done)](int status,
                                                             const ares_addrinfo* found) {
    take(both->host, status, found);
    if (--both->left == 0) done(answer_of(std::move(both->host), host));
  };
  channel.ask_host(host, AF_INET6, port, answered);
  channel.ask_host(host, AF_INET, port, answered);
}

void DnsClient::ask_service(Channel& channel, const std::string& name, Done done) {
  channel.ask_records(name, [this, &channel, name, done = std::move(done)](
                                int status, std::span<const uint8_t> message) {
    if (status != ARES_SUCCESS) return done(failure(cannot_resolve(name, status)));
    std::vector<Record> records = records_of(message);
    std::erase_if(records, [](const Record& record) { return record.host.empty(); });
    if (records.empty()) return done(failure(in_quotes(name) + " is a service of no host"));
    const bool complete = records.size() <= net::kMaxResolvedAddresses;
    if (!complete) records.resize(net::kMaxResolvedAddresses);
    const auto service = std::make_shared<Service>(
        Service{records, std::vector<Answer>(records.size()), records.size(),
                net::least_ttl(message).value_or(Duration::zero()), complete, done});
    for (size_t i = 0; i < records.size(); ++i) {
      ask_host(channel, records[i].host, records[i].port, [service, i](Answer answer) {
        service->answers[i] = std::move(answer);
        if (--service->left == 0) service->done(answer_of(*service));
      });
    }
  });
}

}  // namespace berth::broker
