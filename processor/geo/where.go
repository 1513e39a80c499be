package geo

import (
	"math"
	"strconv"
	"strings"
)

// Distance is how far two places lie apart at the least, in kilometres along the surface: between their middles, less what
// each reaches around its own. It is 0 for neighbours, and false if a place is not on the map.
func Distance(a, b string) (km float64, ok bool) {
	p, okA := spots[a]
	q, okB := spots[b]
	if !okA || !okB {
		return 0, false
	}
	if a == b {
		return 0, true
	}
	// Haversine, on a sphere of the Earth's mean radius.
	const earth = 6371
	rad := math.Pi / 180
	h := func(x float64) float64 { s := math.Sin(x / 2); return s * s }
	d := 2 * earth * math.Asin(math.Sqrt(h((q.lat-p.lat)*rad)+math.Cos(p.lat*rad)*math.Cos(q.lat*rad)*h((q.lon-p.lon)*rad)))
	return max(0, d-p.reach-q.reach), true
}

type spot struct{ lat, lon, reach float64 }

// spots has the middle of each country, and how far it reaches around it: the radius of a circle of its size, at least
// usualReach. AWS regions are points.
var spots = func() map[string]spot {
	m := map[string]spot{}
	for _, line := range strings.Split(strings.TrimSpace(middles), "\n") {
		for _, entry := range strings.Split(line, ";") {
			f := strings.Fields(entry)
			if len(f) < 3 {
				continue
			}
			s := spot{reach: usualReach}
			s.lat, _ = strconv.ParseFloat(f[1], 64)
			s.lon, _ = strconv.ParseFloat(f[2], 64)
			if len(f) > 3 {
				s.reach, _ = strconv.ParseFloat(f[3], 64)
			}
			if strings.HasPrefix(f[0], "aws:") {
				s.reach = 0
			}
			m[f[0]] = s
		}
	}
	return m
}()

const usualReach = 250

// middles: place, latitude, longitude, and reach in kilometres for large countries.
const middles = `
AD 42.5 1.5;AE 24 54;AF 33 66 450;AG 17.1 -61.8;AI 18.2 -63.1;AL 41 20;AM 40 45;AO -12.5 18.5 630;AQ -80 0 2000;AR -34 -64 1300
AS -14.3 -170.7;AT 47.5 14.5;AU -25 134 1900;AW 12.5 -70;AX 60.2 20;AZ 40.5 47.5;BA 44 18;BB 13.2 -59.5;BD 24 90;BE 50.8 4.5
BF 13 -2 300;BG 43 25;BH 26 50.5;BI -3.5 30;BJ 9.5 2.3;BL 17.9 -62.8;BM 32.3 -64.8;BN 4.5 114.7;BO -17 -65 600;BQ 12.2 -68.3
BR -10 -55 1900;BS 24 -76;BT 27.5 90.5;BV -54.4 3.4;BW -22 24 430;BY 53 28 300;BZ 17.2 -88.7;CA 58 -100 2400;CC -12.2 96.8;CD -2.5 23.5 900
CF 7 21 450;CG -1 15 350;CH 47 8;CI 8 -5.5 320;CK -21.2 -159.8;CL -33 -71 1500;CM 6 12 400;CN 35 103 2000;CO 4 -73 650;CR 10 -84
CU 21.5 -80 400;CV 16 -24;CW 12.2 -69;CX -10.5 105.7;CY 35 33;CZ 49.8 15.5;DE 51 10 340;DJ 11.5 43;DK 56 10;DM 15.4 -61.4
DO 19 -70.7;DZ 28 3 900;EC -1.5 -78.5 300;EE 59 26;EG 27 30 600;EH 24.5 -13 300;ER 15 39;ES 40 -4 420;ET 8 38 600;FI 64 26 420
FJ -18 178;FK -51.8 -59;FM 6.9 158.2;FO 62 -7;FR 46.5 2.5 430;GA -1 11.7 290;GB 54 -2 360;GD 12.1 -61.7;GE 42 43.5;GF 4 -53
GG 49.5 -2.6;GH 8 -1.2;GI 36.1 -5.3;GL 72 -40 1000;GM 13.5 -15.5;GN 11 -10;GP 16.2 -61.6;GQ 1.7 10.3;GR 39 22 350;GS -54.5 -37
GT 15.5 -90.3;GU 13.4 144.8;GW 12 -15;GY 5 -59;HK 22.3 114.2 40;HM -53.1 73.5;HN 15 -86.5;HR 45.2 15.5;HT 19 -72.4;HU 47 20
ID -3 118 2000;IE 53 -8;IL 31.5 34.8;IM 54.2 -4.5;IN 22 79 1300;IO -6 71.5;IQ 33 44 380;IR 32 53 750;IS 65 -18;IT 42.8 12.8 450
JE 49.2 -2.1;JM 18.2 -77.3;JO 31 36;JP 36.2 138.3 700;KE 1 38 430;KG 41 75;KH 13 105;KI 1.4 173;KM -12.2 44.2;KN 17.3 -62.7
KP 40 127;KR 36.5 127.8;KW 29.3 47.7;KY 19.3 -81.3;KZ 48 68 1100;LA 18 105 350;LB 33.8 35.8;LC 13.9 -61;LI 47.2 9.5;LK 7 81
LR 6.5 -9.5;LS -29.5 28.3;LT 55.3 24;LU 49.8 6.1;LV 57 25;LY 27 17 800;MA 32 -6 500;MC 43.7 7.4;MD 47 29;ME 42.8 19.3
MF 18.1 -63;MG -20 47 600;MH 7.1 171;MK 41.6 21.7;ML 17 -4 700;MM 21 96 700;MN 46 105 900;MO 22.2 113.5 30;MP 15.2 145.7;MQ 14.7 -61
MR 20 -10 600;MS 16.7 -62.2;MT 35.9 14.4;MU -20.3 57.6;MV 3.2 73;MW -13.5 34 350;MX 23.5 -102 1100;MY 4 109 700;MZ -18 35.5 800;NA -22 17 600
NC -21.3 165.5;NE 17 8 700;NF -29 168;NG 9.5 8 500;NI 13 -85;NL 52.2 5.5;NO 64 12 700;NP 28 84 350;NR -0.5 166.9;NU -19 -169.9
NZ -41 174 650;OM 21 57 400;PA 8.8 -80;PE -9.5 -75.5 800;PF -17.6 -149.4 500;PG -6.5 146 500;PH 12.5 122.5 650;PK 30 70 650;PL 52 19.5 330;PM 46.9 -56.3
PN -24.7 -127.4;PR 18.2 -66.4;PS 32 35.2;PT 39.6 -8;PW 7.5 134.5;PY -23 -58 400;QA 25.3 51.2;RE -21.1 55.5;RO 46 25 300;RS 44 21
RU 60 90 3600;RW -2 30;SA 24 45 900;SB -9 160 400;SC -4.6 55.5;SD 15.5 30 800;SE 62 15 650;SG 1.35 103.8 25;SH -16 -5.7;SI 46.1 14.8
SJ 78 16;SK 48.7 19.5;SL 8.5 -11.8;SM 43.9 12.4;SN 14.5 -14.5 300;SO 6 46 700;SR 4 -56;SS 7.5 30 500;ST 0.2 6.6;SV 13.8 -88.9
SX 18 -63.1;SY 35 38 300;SZ -26.5 31.5;TC 21.8 -71.8;TD 15 19 700;TF -49 69.5;TG 8.5 1;TH 15 101 650;TJ 38.8 71;TK -9 -171.8
TL -8.8 126;TM 39 59.5 500;TN 34 9.5 300;TO -20 -175;TR 39 35 650;TT 10.5 -61.3;TV -8 178;TW 23.7 121;TZ -6 35 550;UA 49 32 550
UG 1.3 32.5;UM 19.3 166.6;US 39.5 -98.5 2300;UY -33 -56 270;UZ 41.5 64 550;VA 41.9 12.5;VC 13.2 -61.2;VE 7.5 -66 600;VG 18.4 -64.5;VI 18 -64.8
VN 16 107 750;VU -16 167 300;WF -13.8 -177;WS -13.7 -172;XK 42.6 20.9;YE 15.5 47.5 450;YT -12.8 45.2;ZA -29 24 750;ZM -14 28 550;ZW -19 29.5 350
aws:us-east-1 38.9 -77.4;aws:us-east-2 40 -83;aws:us-west-1 37.4 -121.9;aws:us-west-2 45.8 -119.7;aws:us-gov-east-1 40 -83;aws:us-gov-west-1 45.8 -119.7
aws:ca-central-1 45.5 -73.6;aws:ca-west-1 51 -114;aws:mx-central-1 20.6 -100.4;aws:sa-east-1 -23.5 -46.6;aws:eu-west-1 53.3 -6.3;aws:eu-west-2 51.5 -0.1
aws:eu-west-3 48.9 2.4;aws:eu-central-1 50.1 8.7;aws:eu-central-2 47.4 8.5;aws:eu-north-1 59.3 18;aws:eu-south-1 45.5 9.2;aws:eu-south-2 41.6 -0.9
aws:eusc-de-east-1 52.4 13;aws:ap-south-1 19.1 72.9;aws:ap-south-2 17.4 78.5;aws:ap-southeast-1 1.35 103.8;aws:ap-southeast-2 -33.9 151.2;aws:ap-southeast-3 -6.2 106.8
aws:ap-southeast-4 -37.8 145;aws:ap-southeast-5 3.1 101.7;aws:ap-southeast-6 -36.8 174.8;aws:ap-southeast-7 13.8 100.5;aws:ap-northeast-1 35.7 139.7;aws:ap-northeast-2 37.5 127
aws:ap-northeast-3 34.7 135.5;aws:ap-east-1 22.3 114.2;aws:ap-east-2 25 121.5;aws:me-south-1 26 50.5;aws:me-central-1 24.5 54.4;aws:il-central-1 32.1 34.8
aws:af-south-1 -33.9 18.4;aws:cn-north-1 39.9 116.4;aws:cn-northwest-1 37.5 105.2
`
