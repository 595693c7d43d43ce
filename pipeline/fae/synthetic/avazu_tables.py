"""Shares that make a log look like Avazu's (2014).

Heads: the first 9,999 rows of the published data set, which all belong to its first hour. Tails:
fitted so that 40,428,967 rows have the published number of distinct ids and of ids seen ten times
or more. Ids named here are the data set's own names for "none".
"""

from fae.synthetic.distributions import Skew

NONE = {
    "site_id": 0x85F751FD, "site_domain": 0xC4E18DD6, "site_category": 0x50E219E0,
    "app_id": 0xECAD2386, "app_domain": 0x7801E8D9, "app_category": 0x07D7DF22,
    "device_id": 0xA99F214A,
}  # fmt: skip

# Ten days of hours, as YYMMDDHH.
HOURS = tuple(14_102_100 + 100 * (hour // 24) + hour % 24 for hour in range(240))

# Rows shown on a site; the others are shown in an app.
ON_SITES = 0.781
# Rows whose address is a gateway that many devices share, and those that its own campaign takes.
ON_GATEWAYS, GATEWAY_CAMPAIGN = 0.15, 0.88
# Rows in which a user meets the usual campaign and place.
USUAL = 0.92

# A slot is one running campaign; after so many rows another campaign takes it.
SLOT_ROWS = 13_000_000
SLOTS = Skew(((1, 0.391), (2, 0.529), (3, 0.629), (5, 0.7), (10, 0.794), (20, 0.876),
              (50, 0.962), (90, 0.993), (110, 1.0)))  # fmt: skip
RANKS = {
    "site": Skew(((1, 0.456), (2, 0.538), (3, 0.582), (5, 0.642), (10, 0.715), (20, 0.79),
                  (50, 0.882), (150, 0.9608), (400, 0.98978), (1500, 0.99893), (4736, 1.0))),
    "app": Skew(((1, 0.114), (2, 0.203), (4, 0.309), (7, 0.406), (10, 0.473), (20, 0.622),
                 (50, 0.77), (120, 0.87711), (400, 0.97892), (1500, 0.993), (4000, 0.9965),
                 (8551, 1.0))),
    "user": Skew(((10, 0.0008), (100, 0.006), (1000, 0.195), (10_000, 0.437),
                  (100_000, 0.51699), (500_000, 0.7824), (3_000_000, 0.8185),
                  (30_000_000, 1.0))),
    "gateway": Skew(((1, 0.06), (10, 0.26), (20, 0.42), (50, 0.67), (100, 0.83), (300, 0.98),
                     (1000, 1.0))),
    "device_model": Skew(((1, 0.0728), (2, 0.1233), (3, 0.1615), (10, 0.285), (20, 0.403),
                          (50, 0.576), (100, 0.689), (300, 0.8512), (1000, 0.96407),
                          (3000, 0.9986), (8251, 1.0))),
    "C20": Skew(((1, 0.6), (2, 0.68), (20, 0.92), (80, 0.99), (172, 1.0))),
}  # fmt: skip

# (value, cumulative share of the ids that draw it); for C18, C19, C21 of slots beyond the third.
VALUES = {
    "C18": ((0, 0.18), (3, 0.68), (2, 0.996), (1, 1.0)),
    "C19": ((35, 0.2), (39, 0.4), (297, 0.51), (687, 0.578), (163, 0.644), (167, 0.708),
            (1063, 0.765), (303, 0.805), (427, 0.833), (431, 0.861), (551, 0.881), (171, 0.9),
            (161, 0.91), (47, 0.92), (1327, 0.93), (175, 0.938), (679, 0.946), (935, 0.954),
            *((33 + 34 * i, 0.954 + 0.00092 * (i + 1)) for i in range(50))),
    "C21": ((23, 0.2), (61, 0.385), (33, 0.515), (117, 0.62), (32, 0.71), (48, 0.786),
            (52, 0.819), (46, 0.85), (156, 0.875), (16, 0.896), (221, 0.916), (71, 0.926),
            (42, 0.936), (51, 0.946), *((100 + i, 0.946 + 0.00123 * (i + 1)) for i in range(44))),
    "C1": ((1005, 0.93), (1002, 0.985), (1010, 0.9965), (1007, 0.9985), (1001, 0.9993),
           (1008, 0.9996), (1012, 1.0)),
    "C1 in apps": ((1005, 0.82), (1010, 0.985), (1002, 0.99), (1007, 0.994), (1001, 0.996),
                   (1008, 0.998), (1012, 1.0)),
    "banner_pos": ((0, 0.62), (1, 0.9999), (2, 0.99995), (4, 1.0)),
    "device_conn_type": ((0, 0.907), (2, 0.986), (3, 0.9993), (5, 1.0)),
    # Width times height of the banner, as width * 10,000 + height.
    "C15 C16": ((3200050, 0.80), (3000250, 0.93), (2160036, 0.965), (3000050, 0.985),
                (3200480, 0.99), (7280090, 0.994), (1200020, 0.996), (4800320, 0.9975),
                (10240768, 0.999), (7681024, 1.0)),
}  # fmt: skip
# Sites and apps whose C1 is not 1005 have one banner position.
BANNER_OF_C1 = {1002: 0, 1010: 1, 1007: 0, 1001: 0, 1008: 5, 1012: 7}
# The first slots' (C18, C19, C21, creatives); they have most of the rows.
FIRST_SLOTS = ((0, 35, 79, 10), (0, 39, 157, 2), (0, 35, 157, 4))
# Shares of the first slot's rows with C20's first values.
FIRST_SLOT_C20 = (0.65, 0.92)

SITE_CATEGORIES = (0.03, 0.50, 0.79, 0.87, 0.914, 0.939, 0.951, 0.961, 0.971, 0.977,
                   *(0.98 + 0.00125 * i for i in range(15)))  # fmt: skip
APP_CATEGORIES = (0.05, 0.71, 0.83, 0.9, 0.957, 0.968, 0.977, 0.984,
                  *(0.985 + 0.00052 * i for i in range(27)))  # fmt: skip
APP_DOMAINS = Skew(((1, 0.25), (2, 0.55), (5, 0.68), (15, 0.8), (50, 0.9), (559, 1.0)))
