import VhostUser

/// The connections and probes of a guest, by the host's port.
final class ConnectionTable {
    private unowned let guest: Guest
    private var connections: [UInt32: Connection] = [:]
    /// Connections that the guest is done with and whose clients still fetch the last bytes.
    private var draining: [ObjectIdentifier: Connection] = [:]
    /// Those of them whose clients have everything, and are waited for.
    private var resting = RestList()
    private var probes: [UInt32: Publication] = [:]
    private var nextPort: UInt32 = 1 << 30

    init(_ guest: Guest) { self.guest = guest }

    subscript(hostPort: UInt32) -> Connection? { connections[hostPort] }

    /// The publication that asks from that port of the host, if `guestPort` is the one it asks.
    func probe(from hostPort: UInt32, of guestPort: UInt32) -> Publication? {
        guard let publication = probes[hostPort], publication.guestPort == guestPort else {
            return nil
        }
        return publication
    }

    /// A port of the host for a new connection. O(1) as long as most are free.
    func freePort() -> UInt32 {
        repeat {
            nextPort = nextPort == UInt32.max - 1 ? 1 << 30 : nextPort + 1
        } while connections[nextPort] != nil || probes[nextPort] != nil
        return nextPort
    }

    func insert(_ connection: Connection) { connections[connection.hostPort] = connection }

    func remove(_ connection: Connection) { connections[connection.hostPort] = nil }

    func insert(probe publication: Publication, from hostPort: UInt32) {
        probes[hostPort] = publication
    }

    func removeProbe(from hostPort: UInt32) { probes[hostPort] = nil }

    /// The guest is done with the connection in order.
    func leave(_ connection: Connection) {
        connections[connection.hostPort] = nil
        draining[ObjectIdentifier(connection)] = connection
        connection.leave()
    }

    /// The client has everything that the guest left for it.
    func rests(_ connection: Connection) { resting.append(connection) }

    /// Ends the connection whose client has had everything for the longest time, if there is one.
    func endLongestResting() { resting.first?.release(orderly: true) }

    /// The guest or the device broke the connection off.
    func abort(_ connection: Connection) {
        connections[connection.hostPort] = nil
        connection.release(orderly: false)
    }

    /// Ends those that have rested since the last call: as if their clients sent no more.
    func dismiss() {
        for connection in connections.values { connection.dismissIfAtRest() }
    }

    /// A connection's socket is closed.
    func released(_ connection: Connection, charge: Int) {
        resting.remove(connection)
        draining[ObjectIdentifier(connection)] = nil
        guest.closed(charge: charge)
    }

    /// The guest's driver has forgotten everything.
    func forgetAll() {
        let all = connections.values
        connections.removeAll()
        probes.removeAll()
        for connection in all { connection.end() }
    }

    /// The guest is gone: nobody is left to fetch the last bytes for.
    func endDraining() {
        for connection in draining.values { connection.end() }
    }
}
