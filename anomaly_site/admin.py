"""Django's pages of users and groups, as careful as our own."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from market.admin import CarefulAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class CarefulUserAdmin(CarefulAdmin, UserAdmin):  # type: ignore[type-arg]
    pass


@admin.register(Group)
class CarefulGroupAdmin(CarefulAdmin, GroupAdmin):
    pass
