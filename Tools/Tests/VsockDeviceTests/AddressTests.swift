import Glibc
import Testing
import VhostUser

@testable import VsockDevice

/// Names with several addresses.
@Suite struct AddressTests {
    private func addresses(_ hosts: [String]) throws -> [SocketAddress] {
        try hosts.flatMap { host throws(HostError) in try SocketAddress.all(of: host) }
    }

    private func listener(_ hosts: [String], port: UInt16 = 0) throws -> HostListener {
        let (files, port) = try SocketAddress.listen(try addresses(hosts), port, name: "these")
        return HostListener(files, .tcp(host: "these", port: port), name: nil)
    }

    @Test func eachAddressListensOnTheSamePort() throws {
        let listener = try listener(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        guard case .tcp(_, let port) = listener.address else { return }
        #expect(listener.files.count == 3 && port != 0)
        #expect(listener.accept() == -1 && errno == EAGAIN)
        // All wait at once, and each has its turn.
        let clients = try ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map {
            try Client(.tcp(host: $0, port: port))
        }
        var accepted: [Int32] = []
        for _ in 0..<1000 where accepted.count < 3 {
            let file = listener.accept()
            if file >= 0 { accepted.append(file) } else { usleep(10_000) }
        }
        #expect(accepted.count == 3)
        for file in accepted { close(file) }
        withExtendedLifetime(clients) {}
        listener.close()
        #expect(listener.files.isEmpty && listener.accept() == -1)
    }

    /// 192.0.2.1 is nobody's (RFC 5737).
    @Test func whatTheHostLacksIsLeftOut() throws {
        #expect(try listener(["192.0.2.1", "127.0.0.1"]).files.count == 1)
        #expect(throws: HostError.self) { try listener(["192.0.2.1"]) }
    }

    @Test func oneInUseIsNamed() throws {
        let first = try listener(["127.0.0.2"])
        guard case .tcp(_, let port) = first.address else { return }
        #expect(throws: HostError("these is in use: choose another port")) {
            try listener(["127.0.0.1", "127.0.0.2"], port: port)
        }
        // Nothing is left open of it.
        #expect(try listener(["127.0.0.1"], port: port).files.count == 1)
        withExtendedLifetime(first) {}
    }

    @Test func anAddressThatIsNamedTwiceIsOne() throws {
        let found = try SocketAddress.all(of: "localhost")
        for (index, address) in found.enumerated() { #expect(!found[..<index].contains(address)) }
    }
}
