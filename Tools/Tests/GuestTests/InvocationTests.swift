import Foundation
import Launcher
import LoadClient
import Testing
import ToroCore

/// What a shell can hand over besides the words of the command line.
@Suite(.serialized) struct InvocationTests {
    /// Runs `toro` by a line of shell, in which it and its arguments are `$@`. Bash ignores SIGCHLD when
    /// told to; dash does not.
    private func shell(_ line: String, _ arguments: [String]) throws -> Finished {
        let toro = try #require(Images.tool("toro"), "toro is not built")
        return try Command.capture("/bin/bash", ["-c", line, "bash", toro] + arguments, limit: 120)
    }

    /// The guest fails on purpose, which only somebody who runs it to the end knows.
    @Test(arguments: ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    func anyStreamMayBeClosed(_ redirections: String) throws {
        let run = try shell(
            "exec \"$@\" \(redirections)", ["run", try Images.probe().path, "--", "throw"])
        #expect(run.status == 1, "\(run.output)")
        #expect(run.output.contains("toro: booting") == !redirections.contains("2>&-"))
        let isHeard = !redirections.contains(" >&-") && !redirections.hasPrefix(">&-")
        #expect(run.output.contains("on purpose") == isHeard, "\(run.output)")
    }

    /// A parent that ignores its children's end, or limits, leaves no run hanging or without a word.
    @Test(
        arguments: [
            ("trap '' CHLD; exec \"$@\"", 1, "on purpose"),
            ("ulimit -f 100; exec \"$@\"", 64, "ulimit -f"),
            ("ulimit -v 2000000; exec \"$@\"", 64, "ulimit -v"),
            ("exec \"$@\" >/dev/full", 125, "No space left on device"),
            ("cd $(mktemp -d) && rmdir \"$PWD\" && exec \"$@\"", 1, "on purpose"),
            ("TMPDIR= HOME= XDG_RUNTIME_DIR= exec \"$@\"", 1, "on purpose"),
            ("TMPDIR=. HOME=. exec \"$@\"", 1, "on purpose"),
            ("umask 777; exec \"$@\"", 1, "on purpose"),
        ] as [(String, Int32, String)])
    func whateverIsInherited(_ example: (line: String, status: Int32, words: String)) throws {
        let run = try shell(
            example.line,
            ["run", try Images.probe().path, "--publish", "0:80", "--", "throw"])
        #expect(run.status == example.status, "\(run.output)")
        #expect(run.output.contains(example.words), "\(run.output)")
        let here = try FileManager.default.contentsOfDirectory(atPath: "/")
        #expect(!here.contains { $0.hasPrefix("toro-") })
    }

    /// Too much of something is said before anything is started: here nothing could be.
    @Test(arguments: [
        (["-m", "1T"], "more than there is"), (["-m", "1M"], "2M is the least"),
        (["--cpus", "17"], "from 1 to 16"), (["-v", "a=/tmp:RW"], ":ro, :rw or nothing"),
        ((0..<9).flatMap { ["-v", "t\($0)=/tmp"] }, "9 shares are too many"),
        ((0..<8).flatMap { ["-v", "t\($0)=/tmp"] } + ["-p", "0:80"], "published ports together"),
    ])
    func whatIsTooMuchIsRefused(_ example: (options: [String], words: String)) throws {
        let folder = try TestFolder()
        let run = try ToroProcess(
            ["run", try Images.probe().path] + example.options, path: folder.path)
        #expect(run.status() == 64, "\(run.output)")
        #expect(run.output.contains(example.words), "\(run.output)")
    }

    /// QEMU makes its machines of whole 8 KiB.
    @Test func anySizeOfMemoryBoots() throws {
        for memory in ["2052K", "2500K", "2.1M", "3000001B"] {
            let run = try ToroProcess(["run", try Images.probe().path, "-m", memory, "--", "clock"])
            #expect(run.status() == 0, "\(memory): \(run.output)")
        }
    }

    /// A guest reads a folder, and an image boots, whatever they are called.
    @Test func anyNameIsServed() throws {
        let folder = try TestFolder()
        // Of bytes that are no text, orders for a terminal, and what separates QEMU's options.
        let script = """
            name=$(printf 'f\\377\\033[2J,a:b\\n=%%:rw') && mkdir "$FOLDER/$name" &&
            echo hi >"$FOLDER/$name/a.txt" && cp "$IMAGE" "$FOLDER/$name/$name" &&
            exec "$@" run "$FOLDER/$name/$name" --share "site=$FOLDER/$name:ro" -- files
            """
        let run = try shell(
            "FOLDER='\(folder.path)'; IMAGE='\(try Images.probe().path)'; " + script, [])
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("file 2f612e747874 3 "), "\(run.output)")
        #expect(run.output.contains("booting f\\xff^[[2J,a:b"), "\(run.output)")
        #expect(!run.output.contains("\u{1b}"))
    }

    /// A link to a package or an image is as good as the thing itself.
    @Test func whatIsReachedByLinksRuns() throws {
        let folder = try TestFolder()
        let files = FileManager.default
        let package = Images.root + "/Tests/Guests"
        for (name, target) in [
            ("package", package), ("image", try Images.probe().path), ("second", "package"),
            ("nowhere", "gone"), ("loop", "loop"),
        ] {
            try files.createSymbolicLink(
                atPath: folder.path + "/" + name, withDestinationPath: target)
        }
        let image = try ToroProcess(["run", folder.path + "/image", "--", "clock"])
        #expect(image.status() == 0, "\(image.output)")
        let built = try ToroProcess(
            [
                "build", folder.path + "/second", "--product", "Probe", "-c",
                "\(Images.configuration)", "-o", folder.path + "/out",
            ])
        #expect(built.status() == 0, "\(built.output)")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/out"))
        #expect(try bytes == Data(contentsOf: URL(fileURLWithPath: Images.probe().path)))
        for name in ["nowhere", "loop"] {
            let run = try ToroProcess(["run", folder.path + "/" + name])
            #expect(run.status() == 64)
            #expect(run.output.contains(folder.path + "/" + name), "\(run.output)")
        }
    }

    /// What a guest says is no order for a terminal (see TerminalTests); a pipe gets every byte.
    @Test func aPipeGetsEveryByte() throws {
        let run = try ToroProcess(["run", "-q", try Images.probe().path, "--", "\u{1b}[2J"])
        #expect(run.status() == 1)
        #expect(run.output.contains("\u{1b}[2J"), "\(run.output)")
    }

    /// Clients of each address that a name has are served, on the same port.
    @Test(.enabled(if: geteuid() == 0)) func allAddressesOfANameAreServed() throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "a.txt")
        try folder.write(
            Array("127.0.0.2 toro-test\n127.0.0.3 toro-test\n127.0.0.2 toro-test\n".utf8),
            to: "hosts")
        let script = "mount --bind '\(folder.path)/hosts' /etc/hosts && exec \"$@\""
        let run = try ToroProcess(
            [
                "run", try Images.webProbe().path, "--share", "site=\(folder.path)", "--publish",
                "toro-test:0:80",
            ], prefix: ["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh"])
        #expect(run.waits(for: "\n", after: "toro-test:"), "\(run.output)")
        let port = try #require(run.output.firstMatch(of: /toro-test:([0-9]+)/)?.output.1)
        for address in [UInt8(2), 3] {
            #expect(try ClientSocket.body(of: "/a.txt", port: port, address: address) == "alpha")
        }
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    /// How Docs/FirstService.md deploys new files: by a link inside of what is shared. A link that was
    /// named on the command line stays what it was.
    @Test func aLinkInsideAShareIsSwitched() throws {
        let folder = try TestFolder()
        let files = FileManager.default
        for name in ["1", "2"] {
            try files.createDirectory(
                atPath: folder.path + "/releases/" + name, withIntermediateDirectories: true)
            let url = URL(fileURLWithPath: "\(folder.path)/releases/\(name)/a.txt")
            try Data("release \(name)".utf8).write(to: url)
        }
        try files.createSymbolicLink(
            atPath: folder.path + "/current", withDestinationPath: "releases/1")
        let runs = try ["", "/current"].map { share in
            try ToroProcess(
                [
                    "run", try Images.webProbe().path, "--share", "site=\(folder.path)\(share)",
                    "--publish", "0:80",
                ])
        }
        let sites = try zip(runs, ["/current", ""]).map { run, path in
            #expect(run.waits(for: "\n", after: "ready: 127.0.0.1:"), "\(run.output)")
            let port = try #require(run.output.firstMatch(of: /127.0.0.1:([0-9]+)/)?.output.1)
            return (port: port, file: path + "/a.txt")
        }
        func answer(_ site: Int) throws -> String {
            try ClientSocket.body(of: sites[site].file, port: sites[site].port)
        }
        for site in sites.indices { #expect(try answer(site) == "release 1") }
        let switched = try Command.capture(
            "/bin/sh",
            [
                "-c", "cd \"$1\" && ln -s releases/2 next && mv -T next current", "sh",
                folder.path,
            ])
        #expect(switched.status == 0, "\(switched.output)")
        let limit = Date(timeIntervalSinceNow: 120)
        while try answer(0) == "release 1", Date() < limit { usleep(100_000) }
        #expect(try answer(0) == "release 2")
        #expect(try answer(1) == "release 1")
        for run in runs {
            run.signal(SIGINT)
            #expect(run.status() == 130, "\(run.output)")
        }
    }

    /// A port or an amount may stand right behind its letter.
    @Test(arguments: [("-p1:2:x:3", "not 1:2:x:3"), ("-m5Q", "not 5Q")])
    func aShortOptionAndItsValueMayBeOneWord(_ example: (word: String, words: String)) throws {
        let run = try ToroProcess(["run", try Images.probe().path, example.word])
        #expect(run.status() == 64)
        #expect(run.output.contains(example.words), "\(run.output)")
    }
}
