#include "wire/socks5.h"

#include <arpa/inet.h>

#include <string_view>
#include <utility>

namespace berth::wire {
namespace {

using namespace std::string_view_literals;

constexpr char kVersion = 5;
constexpr char kConnect = 1;
// Ways to log in.
constexpr unsigned char kNoLogin = 0;
constexpr unsigned char kPassword = 2;
constexpr unsigned char kNoneAccepted = 0xff;
// Types of addresses.
constexpr char kIpv4 = 1;
constexpr char kName = 3;
constexpr char kIpv6 = 4;

constexpr std::string_view kOffer = "\x05\x01\x00"sv;
constexpr std::string_view kOfferWithPassword = "\x05\x02\x00\x02"sv;
constexpr size_t kReplyHead = 4;  // version, code, reserved, type of the address
constexpr size_t kPortBytes = 2;

size_t byte_at(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

std::string address_of(const std::string& host) {
  char bytes[16];
  if (inet_pton(AF_INET, host.c_str(), bytes) == 1) return kIpv4 + std::string(bytes, 4);
  if (inet_pton(AF_INET6, host.c_str(), bytes) == 1) return kIpv6 + std::string(bytes, 16);
  return std::string{kName, static_cast<char>(host.size())} + host;
}

std::string request_for(const Endpoint& server) {
  return std::string{kVersion, kConnect, 0} + address_of(server.host) +
         std::string{static_cast<char>(server.port >> 8), static_cast<char>(server.port & 0xff)};
}

// RFC 1929, less the password.
std::string login_of(const ProxyAccess& access) {
  const std::string& user = access.proxy().user;
  return std::string{1, static_cast<char>(user.size())} + user +
         static_cast<char>(access.password().bytes().size());
}

// RFC 1928, section 6.
const char* words_of(size_t code) {
  switch (code) {
    case 1: return "it has failed";
    case 2: return "its rules do not allow it";
    case 3: return "the network is unreachable";
    case 4: return "the host is unreachable";
    case 5: return "connection refused by the server";
    case 6: return "the packets' time to live has run out";
    case 7: return "it does not know the command";
    case 8: return "it does not know this type of address";
    default: return "its code is unknown";
  }
}

}  // namespace

Socks5::Socks5(std::shared_ptr<const ProxyAccess> proxy, const Endpoint& server)
    : ProxyHandshake(std::move(proxy), server), request_(request_for(server)) {
  ask({access().proxy().user.empty() ? kOffer : kOfferWithPassword});
}

std::string Socks5::moment() const {
  switch (stage_) {
    case Stage::method: return " when greeted";
    case Stage::login: return " when told user and password";
    case Stage::connect: return " when asked for it";
  }
  return {};
}

void Socks5::enter(Stage stage) {
  stage_ = stage;
  answer_.clear();
  if (stage == Stage::connect) return ask({request_});
  login_ = login_of(access());
  ask({login_, access().password().bytes()});
}

void Socks5::take(char c) {
  answer_ += c;
  switch (stage_) {
    case Stage::method: return take_method();
    case Stage::login: return take_login();
    case Stage::connect: return take_reply();
  }
}

void Socks5::take_method() {
  if (answer_.size() < 2) return;
  if (answer_[0] != kVersion) return fail("it does not speak SOCKS5, but says " + quoted(answer_));
  const bool has_user = !access().proxy().user.empty();
  const size_t method = byte_at(answer_, 1);
  if (method == kNoLogin) return enter(Stage::connect);
  if (method == kPassword && has_user) return enter(Stage::login);
  if (method != kNoneAccepted) {
    return fail("it wants login method " + std::to_string(method) + ", which was not offered");
  }
  refused(has_user ? "it accepts neither a user with a password nor none"
                   : "it wants a user and a password, or another proof");
}

// Of the version, which some proxies get wrong, nothing depends.
void Socks5::take_login() {
  if (answer_.size() < 2) return;
  const size_t status = byte_at(answer_, 1);
  if (status == 0) return enter(Stage::connect);
  refused("user or password is wrong (" + std::to_string(status) + ")");
}

void Socks5::take_reply() {
  if (answer_.size() == 2 && answer_[0] != kVersion) {
    return fail("its answer is not one of SOCKS5, but " + quoted(answer_));
  }
  if (answer_.size() == 2 && answer_[1] != 0) {
    const size_t code = byte_at(answer_, 1);
    return refused(std::string(words_of(code)) + " (" + std::to_string(code) + ")");
  }
  if (answer_.size() <= kReplyHead) return;
  size_t address = 0;
  switch (answer_[kReplyHead - 1]) {
    case kIpv4: address = 4; break;
    case kIpv6: address = 16; break;
    case kName: address = 1 + byte_at(answer_, kReplyHead); break;
    default:
      return fail("its answer has an address of type " +
                  std::to_string(byte_at(answer_, kReplyHead - 1)) + ", which SOCKS5 has not");
  }
  if (answer_.size() == kReplyHead + address + kPortBytes) succeed();
}

}  // namespace berth::wire
