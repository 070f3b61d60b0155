import ToroCore

/// A point in civil time as HTTP writes it (RFC 9110 section 5.6.7), to the second.
struct HTTPDate: Equatable {
    /// Whole seconds since 1970-01-01T00:00:00Z, from the year 1 to the year 9999.
    let seconds: Int64

    private static let secondsPerDay: Int64 = 86_400
    private static let first: Int64 = -62_135_596_800
    private static let last: Int64 = 253_402_300_799

    /// The date at `seconds`, brought into the years that can be written.
    init(seconds: Int64) {
        self.seconds = min(max(seconds, HTTPDate.first), HTTPDate.last)
    }

    /// The civil date of a day number since 1970-01-01 (the calendar's cycle of 400 years is
    /// 146,097 days; years begin in March, so that the leap day is the last).
    private static func civil(_ day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// The day number of a civil date.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    private static var weekdays: StaticString { "MonTueWedThuFriSatSun" }
    private static var months: StaticString { "JanFebMarAprMayJunJulAugSepOctNovDec" }

    /// Writes the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`.
    func emit(into writer: ByteWriter) {
        var day = seconds / HTTPDate.secondsPerDay
        var second = seconds % HTTPDate.secondsPerDay
        if second < 0 {
            second += HTTPDate.secondsPerDay
            day -= 1
        }
        let date = HTTPDate.civil(day)
        // 1970-01-01 was a Thursday; day is above -719,163.
        emitName(HTTPDate.weekdays, Int((day + 3 + 7 * 102_738) % 7), into: writer)
        writer.append(", ")
        writer.append(decimal: UInt64(date.day), digits: 2)
        writer.append(ASCII.space)
        emitName(HTTPDate.months, Int(date.month - 1), into: writer)
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(date.year), digits: 4)
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(second / 3_600), digits: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: UInt64(second / 60 % 60), digits: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: UInt64(second % 60), digits: 2)
        writer.append(" GMT")
    }

    private func emitName(_ names: StaticString, _ index: Int, into writer: ByteWriter) {
        writer.append(names, index * 3..<index * 3 + 3)
    }

    /// The date written in `range`, in any of the three forms that a recipient must accept; nil
    /// if it is none.
    init?(_ bytes: RawSpan, _ range: Range<Int>) {
        var date = HTTPDate.Fields()
        guard
            date.match(bytes, range, "w, 2 m 0 3:4:5 GMT")
                || date.match(bytes, range, "W, 2-m-y 3:4:5 GMT")
                || date.match(bytes, range, "w m d 3:4:5 0"),
            let seconds = date.seconds
        else { return nil }
        self.seconds = seconds
    }

    /// The numbers of a date while it is read.
    private struct Fields {
        /// Year, month, day, hour, minute, second.
        var numbers = InlineArray<6, Int64>(repeating: 0)

        /// The point in time; nil if there is no such day or time. A leap second is taken as the
        /// second before it.
        var seconds: Int64? {
            let (year, month, day) = (numbers[0], numbers[1], numbers[2])
            let (hour, minute, second) = (numbers[3], numbers[4], numbers[5])
            guard year >= 1, day >= 1, hour < 24, minute < 60, second <= 60 else { return nil }
            let days = HTTPDate.days(year, month, day)
            guard HTTPDate.civil(days) == (year, month, day) else { return nil }
            return days * HTTPDate.secondsPerDay + hour * 3_600 + minute * 60 + min(second, 59)
        }

        /// Reads `range` after a pattern: `w` and `W` a weekday, short or in full, `m` a month's
        /// name, `0` the four digits of a year, `2` to `5` the two digits of the number of that
        /// place, `y` two digits of a year, `d` a day with a blank for a leading zero; all else
        /// stands for itself.
        mutating func match(
            _ bytes: RawSpan, _ range: Range<Int>, _ pattern: StaticString
        ) -> Bool {
            var index = range.lowerBound
            for place in 0..<pattern.byteCount {
                let code = pattern.byte(place)
                let width = HTTPDate.Fields.width(code, bytes, index..<range.upperBound)
                guard range.upperBound - index >= width else { return false }
                guard take(code, bytes, index..<index + width) else { return false }
                index += width
            }
            return index == range.upperBound
        }

        private static func width(_ code: UInt8, _ bytes: RawSpan, _ rest: Range<Int>) -> Int {
            switch code {
            case UInt8(ascii: "w"), UInt8(ascii: "m"): 3
            case UInt8(ascii: "W"):
                // "Monday" is the shortest.
                max((bytes.first(ASCII.comma, in: rest) ?? 0) - rest.lowerBound, 6)
            case UInt8(ascii: "0"): 4
            case UInt8(ascii: "2")...UInt8(ascii: "5"), UInt8(ascii: "y"), UInt8(ascii: "d"): 2
            default: 1
            }
        }

        private mutating func take(_ code: UInt8, _ bytes: RawSpan, _ field: Range<Int>) -> Bool {
            var digits = field
            var place = Int(code & 0xF)
            switch code {
            case UInt8(ascii: "w"), UInt8(ascii: "W"):
                return index(bytes, field.lowerBound, HTTPDate.weekdays) != nil
            case UInt8(ascii: "m"):
                guard let month = index(bytes, field.lowerBound, HTTPDate.months) else {
                    return false
                }
                numbers[1] = Int64(month) + 1
                return true
            case UInt8(ascii: "0")...UInt8(ascii: "5"): break
            case UInt8(ascii: "y"): place = 0
            case UInt8(ascii: "d"):
                place = 2
                if bytes.byte(field.lowerBound) == ASCII.space {
                    digits = field.lowerBound + 1..<field.upperBound
                }
            default: return bytes.byte(field.lowerBound) == code
            }
            guard let value = bytes.decimal(digits) else { return false }
            numbers[place] = Int64(value)
            // Two digits: 1970 to 2069.
            if code == UInt8(ascii: "y") { numbers[0] += value < 70 ? 2_000 : 1_900 }
            return true
        }

        /// Which of `names`, of three letters each, stands at `start`.
        private func index(_ bytes: RawSpan, _ start: Int, _ names: StaticString) -> Int? {
            for index in 0..<names.byteCount / 3
            where bytes.matches(from: start, names, index * 3..<index * 3 + 3) {
                return index
            }
            return nil
        }
    }
}
