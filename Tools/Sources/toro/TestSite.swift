import Foundation
import Launcher

/// Where tests are built and run.
struct TestSite {
    /// The sources.
    let root: String
    /// The parts that are tested there.
    let parts: [TestPart]
    /// The path of `swift` there.
    let swift: String
    /// What comes before a command: a program that runs it there.
    var entrance: [String] = []

    /// This machine, for everything.
    static func here() throws(LaunchError) -> TestSite {
        let root = try Toro.root
        _ = try Machine.qemu()
        try fetchLinux(root)
        return TestSite(root: root, parts: TestPart.all, swift: try SwiftCommand().path)
    }

    /// A folder with Debian 13, for the guests: its QEMU and its virtiofsd are of the generation
    /// after Debian 12's. It has a copy of the sources, and both are used again.
    static func peers() throws(LaunchError) -> TestSite {
        guard geteuid() == 0 else {
            throw .usage(
                """
                --peers needs root, to make a folder with Debian and to enter it. Type: \
                sudo env "PATH=$PATH" ./toro test --peers
                """)
        }
        let root = try Toro.root
        let swift = try SwiftCommand(temporary: root + "/.build/peers/tmp")
        let scripts = root + "/Tests/Peers/"
        let status = try Command.passThrough(scripts + "prepare", [])
        guard status == 0 else {
            throw LaunchError("there is no Debian folder to test in", status: status)
        }
        try fetchLinux(root)
        let copy = SourceCopy(of: root, in: root + "/.build/peers/sources")
        try copy.refresh([
            "Package.swift", "Modules", "Platform", "Samples", "Tests", "Tools", "toro",
        ])
        if FileManager.default.fileExists(atPath: root + "/" + linux) {
            try copy.refresh([linux])
        }
        // The folder has no network, in which the packages that Tools needs could be found.
        let fetched = try swift.capture(
            ["package", "--package-path", copy.folder + "/Tools", "resolve"])
        guard fetched.status == 0 else {
            throw LaunchError("what Tools depends on cannot be fetched:\n" + fetched.output)
        }
        var guests = TestPart.all.filter { $0.name == "guests" }
        // The package is this machine's.
        for index in guests.indices { guests[index].selection += ["--skip", "PackageTests"] }
        return TestSite(
            root: copy.folder, parts: guests,
            swift: "/opt/swift/usr/bin/swift",
            entrance: [scripts + "enter", try GuestSDK.toolchainFolder(), copy.folder])
    }

    private static let linux = ".build/linux-peer"

    /// Fetches the kernel for LinuxPeerTests. Without it they fail, and say so.
    private static func fetchLinux(_ root: String) throws(LaunchError) {
        _ = try Command.passThrough(root + "/Tests/LinuxPeer/fetch", [])
    }
}
