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

    /// A resolver's answer about a numeric address, which is no matter of the host's files.
    private func answer(_ host: String) throws -> UnsafeMutablePointer<addrinfo> {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICHOST
        var found: UnsafeMutablePointer<addrinfo>?
        // SAFETY: the caller frees the list.
        #expect(unsafe getaddrinfo(host, "0", &hints, &found) == 0)
        return unsafe try #require(unsafe found)
    }

    /// `*` is every address of both families, and neither is in the other's way.
    @Test func allAddressesOfBothFamiliesGoTogether() throws {
        #expect(try SocketAddress.all(of: "*").contains(addresses(["0.0.0.0"])[0]))
        for hosts in [["*"], ["0.0.0.0", "::"], ["::", "0.0.0.0"]] {
            let both = try listener(hosts)
            guard case .tcp(_, let port) = both.address else { return }
            _ = try Client(.tcp(host: "127.0.0.1", port: port))
        }
        // Alone, :: is reached by IPv4, too; a host may have no IPv6.
        guard let all = try? listener(["::"]), case .tcp(_, let port) = all.address else { return }
        _ = try Client(.tcp(host: "127.0.0.1", port: port))
    }

    @Test func anAddressThatIsNamedTwiceIsOne() throws {
        let list = unsafe try answer("127.0.0.1")
        // SAFETY: the lists are put together, and freed as one.
        defer { unsafe freeaddrinfo(list) }
        var last = unsafe list
        for host in ["127.0.0.2", "127.0.0.1", "::1", "127.0.0.2"] {
            unsafe last.pointee.ai_next = unsafe try answer(host)
            last = unsafe try #require(last.pointee.ai_next)
        }
        let once = try addresses(["127.0.0.1", "127.0.0.2", "::1"])
        #expect(unsafe SocketAddress.each(list) == once)
    }
}
